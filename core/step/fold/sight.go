package fold

import (
	"slices"
	"strings"

	"github.com/klab-project/klab/core/step"
)

// Sight is what was seen of a pod on its node: what the kernel has of it, and
// what probes found. Its parts are shared and must not be changed.
type Sight struct {
	Seen      *step.PodSeenDetail
	SeenAt    step.Seconds
	Processes *step.ProcessesDetail
	Usage     *step.UsageDetail
	UsageAt   step.Seconds
	Uses      []Use // of the whole pod, the newest last, a bounded number
	Probes    []Probe
	Worker    string // the state that the pod's worker came to
}

// Use is what a pod used at one moment.
type Use struct {
	At            step.Seconds
	Milli, Memory int64
}

// Probe is what a probe found last. Since is when its result became so.
type Probe struct {
	step.ProbeDetail
	At, Since step.Seconds
}

// usesKept is how many moments a Sight keeps at least.
const usesKept = 40

// sight notes what was seen of a pod. What is seen of one whose sandbox is
// gone by now is no news.
func (s *State) sight(e *step.Event) {
	n := s.Nodes[e.Node]
	if e.Object.Resource != "pods" || e.Node == "" {
		return
	}
	key := KeyOf(e.Object)
	var box *Sandbox
	if n != nil {
		box = n.Pods[key]
	}
	seen := box != nil && box.Sight != nil
	next := &Sight{}
	if seen {
		*next = *box.Sight
	}
	if !next.take(e) || box == nil && (next.Seen == nil || len(next.Seen.Containers) == 0) {
		return
	}
	s.node(e, func(n *Node) {
		pods := make(map[Key]*Sandbox, len(n.Pods)+1)
		for k, v := range n.Pods {
			pods[k] = v
		}
		b := &Sandbox{Pod: key, State: "ready"}
		if box != nil {
			*b = *box
		}
		b.Sight = next
		pods[key], n.Pods = b, pods
	})
}

// take notes one fact; it returns whether it could be read.
func (g *Sight) take(e *step.Event) bool {
	switch e.Verb {
	case step.PodSeen:
		d := &step.PodSeenDetail{}
		if e.Decode(d) != nil {
			return false
		}
		g.Seen, g.SeenAt = d, e.At
		if len(d.Containers) == 0 {
			g.Processes, g.Usage = nil, nil
		}
	case step.Processes:
		d := &step.ProcessesDetail{}
		if e.Decode(d) != nil {
			return false
		}
		g.Processes = d
	case step.Usage:
		d := &step.UsageDetail{}
		if e.Decode(d) != nil {
			return false
		}
		g.Usage, g.UsageAt = d, e.At
		g.Uses = keepLast(slices.Clip(g.Uses), Use{e.At, d.Pod.Milli, d.Pod.Memory}, usesKept)
	case step.Worker:
		var d step.WorkerDetail
		if e.Decode(&d) != nil {
			return false
		}
		g.Worker = d.State
	case step.Probe:
		var d step.ProbeDetail
		if e.Decode(&d) != nil {
			return false
		}
		g.probe(d, e.At)
	}
	return true
}

// probe takes the place of what the same probe of the same container found before.
func (g *Sight) probe(d step.ProbeDetail, at step.Seconds) {
	p := Probe{ProbeDetail: d, At: at, Since: at}
	list := slices.Clone(g.Probes)
	i := slices.IndexFunc(list, func(o Probe) bool { return o.Container == d.Container && strings.EqualFold(o.Kind, d.Kind) })
	if i < 0 {
		g.Probes = append(list, p)
		return
	}
	if list[i].Result == d.Result && list[i].ID == d.ID {
		p.Since = list[i].Since
	}
	list[i] = p
	g.Probes = list
}
