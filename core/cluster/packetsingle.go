package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/cni"
	"github.com/klab-project/klab/netlab/trace"
)

// singlePlace is before the name of a single container that is an end of a
// packet's way: "container/web", and "container/node-2/web" if several nodes have
// one of that name.
const singlePlace = "container/"

// single is a container that belongs to no pod, as packets see it.
type single struct {
	trace.Single
	Name  string
	Ports []trace.HostPort
}

// address is the container's own; "" if it has none.
func (c *single) address() string {
	if !c.Addr.IsValid() {
		return ""
	}
	return c.Addr.Addr().String()
}

// singleOf is the container of an attachment, false if it is a pod's.
func singleOf(a cni.Attachment, s trace.Space) (c single, ok bool) {
	mode, ok := strings.CutPrefix(a.NetworkName, cni.ModePrefix)
	name, of := strings.CutPrefix(s.Pod, singlesIn+"/")
	if !ok || !of {
		return c, false
	}
	c = single{Single: trace.Single{Space: s.Name, Node: s.Node, Mode: mode}, Name: name}
	result, err := a.Result()
	if err != nil {
		return c, true
	}
	for _, ip := range result.IPs {
		at, _ := netip.AddrFromSlice(ip.Address.IP)
		if ones, _ := ip.Address.Mask.Size(); !at.Unmap().IsLoopback() {
			c.Addr = netip.PrefixFrom(at.Unmap(), ones)
		}
	}
	for _, r := range result.Routes {
		if ones, _ := r.Dst.Mask.Size(); ones == 0 {
			gw, _ := netip.AddrFromSlice(r.GW)
			c.Gateway = gw.Unmap()
		}
	}
	for _, m := range said(a) {
		c.Ports = append(c.Ports, trace.HostPort{Node: s.Node, Protocol: strings.ToUpper(m.Protocol),
			At: netip.AddrPortFrom(netip.Addr{}, uint16(m.HostPort)), To: netip.AddrPortFrom(c.Addr.Addr(), uint16(m.ContainerPort))})
	}
	return c, true
}

// said are the ports of its node that an attachment has.
func said(a cni.Attachment) (list []cni.PortMapping) {
	text, err := json.Marshal(a.Said["portMappings"])
	if err == nil {
		err = json.Unmarshal(text, &list)
	}
	if err != nil {
		slog.Info("the ports of a container are not known", "container", a.ContainerID, "err", err)
	}
	return list
}

// withSingles is a world that has the single containers, too.
func withSingles(w *trace.World, list []single) *trace.World {
	of := *w
	of.HostPorts = slices.Clone(w.HostPorts)
	for _, c := range list {
		of.Singles = append(of.Singles, c.Single)
		of.HostPorts = append(of.HostPorts, c.Ports...)
	}
	if w.Six != nil { // of which they have nothing
		six := *w.Six
		for _, c := range of.Singles {
			c.Addr, c.Gateway = netip.Prefix{}, netip.Addr{}
			six.Singles = append(six.Singles, c)
		}
		of.Six = &six
	}
	return &of
}

// asSingle tells whether an end of a way is a container's name.
func asSingle(name string) bool { return strings.HasPrefix(name, singlePlace) }

// findSingles asks the nodes for their containers, if one of the ends is such a
// one: only runtimes know those that have no network of their own.
func (p *packets) findSingles(ctx context.Context, ends ...string) (list []single, err error) {
	if !slices.ContainsFunc(ends, asSingle) {
		return nil, nil
	}
	_, known := p.lookAround()
	for _, n := range p.d.nodes.all() {
		if _, err := os.Stat(p.d.CRISocket(n.name)); n.ns == nil || err != nil {
			continue // it is off
		}
		s, err := OpenSingles(ctx, p.d.Dir, n.name)
		if err != nil {
			return nil, err
		}
		all, err := s.List(ctx)
		s.Close()
		if err != nil {
			return nil, fmt.Errorf("containers of %s: %w", n.name, err)
		}
		modes := map[string]string{}
		for _, c := range all {
			modes[c.Labels[singleLabel]] = NetworkOf(c)
		}
		for name := range modes {
			list = append(list, placed(name, n.name, modes, known))
		}
	}
	return list, nil
}

// placed is a container of a node with the network that it has: its node's, or that
// of the container which it joins, or which that one joins in turn, or its own.
func placed(name, node string, modes map[string]string, known []single) single {
	owner := name
	for range modes {
		if next, joins := strings.CutPrefix(modes[owner], joinMode); joins {
			owner = next
		}
	}
	c := single{Name: name, Single: trace.Single{Node: node, Mode: modes[owner]}}
	if c.Mode == hostMode {
		c.Space = node
		return c
	}
	if i := slices.IndexFunc(known, func(k single) bool { return k.Node == node && k.Name == owner }); i >= 0 {
		c.Single = known[i].Single
	}
	return c
}

// single finds a container that belongs to no pod: the place, and its namespace.
func (e *packetEnds) single(name string) (p step.Place, space string, err error) {
	rest := strings.TrimPrefix(name, singlePlace)
	node, short, ok := strings.Cut(rest, "/")
	if !ok {
		node, short = "", rest
	}
	var found []single
	for _, c := range e.singles {
		if c.Name == short && (node == "" || c.Node == node) {
			found = append(found, c)
		}
	}
	switch {
	case len(found) == 0:
		return p, "", fmt.Errorf("there is no container %q: \"klab container ls\" lists those of a node", rest)
	case len(found) > 1:
		return p, "", fmt.Errorf("%s and %s have each a container %q: write %s%s/%s", found[0].Node, found[1].Node, short, singlePlace, found[0].Node, short)
	}
	c := found[0]
	p = step.Place{Kind: "container", Name: rest, Node: c.Node}
	if p.Address = c.address(); c.Mode == hostMode {
		p.Address = nodeIP(e.node(c.Node))
	}
	if !e.open(cmp.Or(c.Space, "-")) {
		return p, "", fmt.Errorf("the container %q does not run: it has no network namespace", rest)
	}
	return p, c.Space, nil
}

// toSingle is a container's address; what has a node's network has all of the
// node's.
func (e *packetEnds) toSingle(name, port string) (step.Place, netip.AddrPort, error) {
	place, _, err := e.single(name)
	if err != nil {
		return place, netip.AddrPort{}, err
	}
	addresses := []string{place.Address}
	if n := e.node(place.Node); n != nil && place.Address == nodeIP(n) {
		addresses = nodeIPs(n)
	}
	at, to, err := e.numbered(place, addresses, port)
	if err != nil && place.Address == "" {
		err = fmt.Errorf("the container %s has no network, and so no address that a packet could be for", place.Name)
	}
	return at, to, err
}
