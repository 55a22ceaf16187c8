package fold

import (
	"slices"

	"github.com/klab-project/klab/core/step"
)

// Node is what was seen happening on a node, whatever the API says of it.
type Node struct {
	Name      string
	Connected bool // its agent's step stream is there
	Lost      bool // it was there
	LastSeq   uint64
	Pods      map[Key]*Sandbox
	Net       step.LinksDetail // the newest "links" fact
	Pulling   []string         // images under way
	Peers     []step.OverlayDetail
	Backend   string             // of the overlay; empty if it was not said
	Carried   step.CarriedDetail // by the backend's forwarder, if it has one
}

// Sandbox is a pod as the runtime has it.
type Sandbox struct {
	Pod        Key
	ID         string
	State      string // creating, ready, stopping, stopped
	Addresses  []string
	Containers []Container // in the order of their creation
	Sight      *Sight      // nil until something was seen
}

// Container is a container as the runtime has it.
type Container struct {
	Name  string
	ID    string
	State string // creating, created, starting, running, stopping, exited
	PID   int
	Image string
	Exit  *int
	Why   string
}

// node changes a copy of the node that e names.
func (s *State) node(e *step.Event, change func(*Node)) {
	if e.Node == "" {
		return
	}
	n := &Node{Name: e.Node}
	if old := s.Nodes[e.Node]; old != nil {
		*n = *old
	}
	n.LastSeq = e.Seq
	change(n)
	s.Nodes[e.Node] = n
}

// hands notes what CRI and CNI verbs did. An end that says nothing by itself
// means what the beginning of its step st said.
func (s *State) hands(e *step.Event, st *Step) {
	if e.Node == "" {
		return
	}
	begins, failed := e.Phase == step.PhaseBegin, e.Err != ""
	if len(e.Detail) == 0 && st != nil {
		said := *e
		said.Detail = st.Detail
		e = &said
	}
	var d step.RuntimeDetail
	_ = e.Decode(&d)
	switch e.Verb {
	case step.PullImage:
		s.node(e, func(n *Node) { n.pull(imageOf(e, d), begins) })
		return
	case step.OverlayAdd, step.OverlayRemove:
		s.node(e, func(n *Node) { n.peer(e) })
		return
	case step.BackendSet:
		s.node(e, func(n *Node) { n.backend(e) })
		return
	case step.Carried:
		var carried step.CarriedDetail
		if e.Decode(&carried) == nil {
			s.node(e, func(n *Node) { n.Carried = carried })
		}
		return
	case step.Links:
		var net step.LinksDetail
		if e.Decode(&net) == nil {
			s.node(e, func(n *Node) { n.Net = net })
		}
		return
	case step.RunPodSandbox, step.StopPodSandbox, step.RemovePodSandbox, step.CNIAdd, step.CNIDel,
		step.CreateContainer, step.StartContainer, step.StopContainer, step.RemoveContainer, step.Exited:
	default:
		return
	}
	key, ok := podOf(e)
	if !ok || e.Object.Resource == "plugins" { // one plugin of a network: the whole call counts
		return
	}
	s.node(e, func(n *Node) {
		pods := make(map[Key]*Sandbox, len(n.Pods)+1)
		for k, v := range n.Pods {
			pods[k] = v
		}
		n.Pods = pods
		if e.Verb == step.RemovePodSandbox && !begins && !failed {
			delete(pods, key)
			return
		}
		b := &Sandbox{Pod: key}
		if old := pods[key]; old != nil {
			*b = *old
			b.Containers = slices.Clone(old.Containers)
		}
		b.apply(e, d, begins, failed)
		pods[key] = b
	})
}

func (b *Sandbox) apply(e *step.Event, d step.RuntimeDetail, begins, failed bool) {
	state := func(during, after string) string {
		switch {
		case begins:
			return during
		case failed:
			return "failed"
		}
		return after
	}
	switch e.Verb {
	case step.RunPodSandbox:
		if b.State = state("creating", "ready"); d.ID != "" {
			b.ID = d.ID
		}
	case step.StopPodSandbox:
		b.State = state("stopping", "stopped")
	case step.CNIAdd:
		var c step.CNIDetail
		if e.Decode(&c) == nil && len(c.Address) > 0 {
			b.Addresses = c.Address
		}
	case step.CNIDel:
		if !begins && !failed {
			b.Addresses = nil
		}
	case step.CreateContainer:
		b.container(d, state("creating", "created"))
	case step.StartContainer:
		b.container(d, state("starting", "running"))
	case step.StopContainer:
		b.container(d, state("stopping", "exited"))
	case step.Exited:
		b.container(d, "exited")
	case step.RemoveContainer:
		if !begins && !failed {
			b.Containers = slices.DeleteFunc(b.Containers, func(c Container) bool { return c.is(d) })
		}
	}
}

func (c Container) is(d step.RuntimeDetail) bool {
	if d.ID != "" && c.ID != "" {
		return c.ID == d.ID
	}
	return c.Name == d.Container
}

func (b *Sandbox) container(d step.RuntimeDetail, state string) {
	i := slices.IndexFunc(b.Containers, func(c Container) bool { return c.is(d) })
	if i < 0 && state == "created" {
		// Its beginning did not know the id yet.
		i = slices.IndexFunc(b.Containers, func(c Container) bool { return c.ID == "" && c.State == "creating" })
	}
	if i < 0 {
		if d.Container == "" && d.ID == "" {
			return
		}
		b.Containers = append(b.Containers, Container{})
		i = len(b.Containers) - 1
	}
	c := &b.Containers[i]
	c.State = state
	if d.Container != "" {
		c.Name = d.Container
	}
	if d.ID != "" {
		c.ID = d.ID
	}
	if d.PID != 0 {
		c.PID = d.PID
	}
	if d.Image != "" {
		c.Image = d.Image
	}
	if d.ExitCode != nil {
		c.Exit = d.ExitCode
	}
	if d.Reason != "" {
		c.Why = d.Reason
	}
}

func (n *Node) pull(image string, begins bool) {
	list := slices.DeleteFunc(slices.Clone(n.Pulling), func(i string) bool { return i == image })
	if begins {
		list = append(list, image)
	}
	n.Pulling = list
}

func (n *Node) peer(e *step.Event) {
	var d step.OverlayDetail
	if e.Phase != step.PhaseEnd && len(e.Detail) == 0 || e.Decode(&d) != nil || e.Err != "" || d.Peer == "" {
		return
	}
	// A backend that is left takes away its own entries, after the new one has its.
	peers := slices.DeleteFunc(slices.Clone(n.Peers), func(p step.OverlayDetail) bool {
		return p.Peer == d.Peer && (e.Verb == step.OverlayAdd || p.Backend == d.Backend)
	})
	if e.Verb == step.OverlayAdd {
		peers = append(peers, d)
	}
	n.Peers = peers
}

// backend is a backend that came into use.
func (n *Node) backend(e *step.Event) {
	var d step.BackendDetail
	if e.Phase != step.PhaseEnd || e.Err != "" || e.Decode(&d) != nil || d.Done || d.Backend == "" {
		return
	}
	n.Backend, n.Carried = d.Backend, step.CarriedDetail{}
}

func imageOf(e *step.Event, d step.RuntimeDetail) string {
	if d.Image != "" {
		return d.Image
	}
	return e.Object.Name
}

// podOf is the pod that a CRI or CNI event is about.
func podOf(e *step.Event) (Key, bool) {
	if e.Object.Resource == "pods" {
		return KeyOf(e.Object), true
	}
	var d struct {
		Pod string `json:"pod"`
	}
	if e.Decode(&d) != nil || d.Pod == "" {
		return Key{}, false
	}
	for i := range d.Pod {
		if d.Pod[i] == '/' {
			return Key{"pods", d.Pod[:i], d.Pod[i+1:]}, true
		}
	}
	return Key{"pods", "default", d.Pod}, true
}
