package proxy

import (
	"slices"
	"strings"
)

// choice is which endpoints of a port take its packets on one node.
type choice struct {
	cluster []backend // with traffic policy Cluster
	local   []backend // with traffic policy Local
	reached []backend // in either
	any     bool      // there are some, here or elsewhere
}

// choose picks the endpoints that are ready; if there are none, those that
// still serve while they end: for each policy by itself.
func choose(all []backend, s *Service, p Port, node Node) (c choice) {
	hinted := func(backend) bool { return true }
	whole := true
	if s.usesCluster(p) {
		hinted, whole = hints(all, node)
		c.cluster = pick(all, func(b backend) bool { return b.Ready && hinted(b) })
		if len(c.cluster) == 0 {
			c.cluster = pick(all, lastResort)
		}
		c.any = len(c.cluster) > 0
	}
	if !s.usesLocal(p) {
		c.reached = c.cluster
		return c
	}
	here := func(b backend) bool { return node.Name != "" && b.Node == node.Name }
	c.any = c.any || slices.ContainsFunc(all, func(b backend) bool { return b.Ready || lastResort(b) })
	c.local = pick(all, func(b backend) bool { return here(b) && b.Ready })
	if len(c.local) == 0 {
		c.local = pick(all, func(b backend) bool { return here(b) && lastResort(b) })
		whole = whole && len(c.local) == 0
	}
	switch {
	case !s.usesCluster(p):
		c.reached = c.local
	case whole: // all that are local are in cluster too
		c.reached = c.cluster
	default:
		c.reached = union(c.cluster, c.local)
	}
	return c
}

func lastResort(b backend) bool { return !b.Ready && b.Serving && b.Terminating }

func pick(all []backend, good func(backend) bool) (list []backend) {
	for _, b := range all {
		if good(b) {
			list = append(list, b)
		}
	}
	return list
}

func union(a, b []backend) []backend {
	list := slices.Concat(a, b)
	slices.SortFunc(list, func(a, b backend) int { return strings.Compare(a.at, b.at) })
	return slices.CompactFunc(list, func(a, b backend) bool { return a.at == b.at })
}

// hints returns which endpoints are meant for this node or its zone; all are if
// any that is ready has no hint, or none has one for here: then whole is true.
func hints(all []backend, node Node) (good func(backend) bool, whole bool) {
	ready := pick(all, func(b backend) bool { return b.Ready })
	for _, kind := range []struct {
		here string
		of   func(backend) []string
	}{
		{node.Name, func(b backend) []string { return b.Nodes }},
		{node.Zone, func(b backend) []string { return b.Zones }},
	} {
		here := func(b backend) bool { return kind.here != "" && slices.Contains(kind.of(b), kind.here) }
		hintless := func(b backend) bool { return len(kind.of(b)) == 0 }
		if slices.ContainsFunc(ready, here) && !slices.ContainsFunc(ready, hintless) {
			return here, false
		}
	}
	return func(backend) bool { return true }, true
}
