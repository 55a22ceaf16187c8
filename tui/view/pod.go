package view

import (
	"cmp"
	"slices"
	"strings"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
)

// PodPage is everything about one pod: what the kernel has of it, how it is
// doing, and what its kubelet plans. Its JSON is what "klab pod --json" prints.
type PodPage struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid,omitempty"`
	Node      string `json:"node,omitempty"`
	Phase     string `json:"phase,omitempty"` // the API's word
	Word      string `json:"-"`               // key of the text, or the API's own reason
	State     State  `json:"state"`
	QoS       string `json:"qosClass,omitempty"`
	IP        string `json:"ip,omitempty"`
	Gone      bool   `json:"gone,omitempty"`
	Hides     Veil   `json:"-"`

	Holders    []string       `json:"holders,omitempty"` // columns of Namespaces: "node", "pause", then containers
	Namespaces []NamespaceRow `json:"namespaces,omitempty"`
	UIDMaps    []UIDMap       `json:"uidMaps,omitempty"`
	Processes  []Process      `json:"processes,omitempty"`
	More       int            `json:"moreProcesses,omitempty"`
	V2         bool           `json:"cgroup2,omitempty"`
	Cgroups    []CgroupRow    `json:"cgroups,omitempty"`
	Uses       []fold.Use     `json:"-"`
	Mounts     []MountTable   `json:"mounts,omitempty"`

	Containers []ContainerRow `json:"containers,omitempty"`
	Conditions []Condition    `json:"conditions,omitempty"`
	History    []Turn         `json:"history,omitempty"`
	Cut        bool           `json:"historyCut,omitempty"` // there was more, which is forgotten
	Probes     []fold.Probe   `json:"probes,omitempty"`
	Plan       *Plan          `json:"plan,omitempty"`
	Calls      []*CNICall     `json:"cni,omitempty"`
}

// Veil says which parts of a page are hidden while a prediction is open.
type Veil struct{ Life, Kernel, Usage, Probes, Plan, Volumes, QoS, Node, IP, Calls bool }

// near tells whether a field, a part of it, or something around it is hidden.
func (m Mask) near(resource, path string) bool {
	if m.Field(resource, path) {
		return true
	}
	for _, f := range m.fields {
		if f.resource == resource && (strings.HasPrefix(f.path, path+".") || strings.HasPrefix(f.path, path+"[")) {
			return true
		}
	}
	return false
}

// veil works out what of a pod's page would give away something hidden: what
// runs tells the phase, and where it runs tells the node.
func (m Mask) veil() Veil {
	node := m.Actor("kubelet") || m.Field("pods", "spec.nodeName")
	does := func(verbs ...step.Verb) bool {
		return slices.ContainsFunc(verbs, func(v step.Verb) bool { return m.verbs[string(v)] })
	}
	phase := m.near("pods", "status.phase") || m.near("pods", "status.containerStatuses") || m.near("pods", "status.conditions") ||
		m.near("pods", "status.initContainerStatuses") || m.Field("pods", "status")
	runs := does(step.PodSeen, step.RunPodSandbox, step.CreateContainer, step.StartContainer, step.StopContainer, step.StopPodSandbox, step.RemovePodSandbox, step.Exited)
	v := Veil{
		Node: node, IP: node || m.near("pods", "status.podIP"), Life: phase || does(step.Commit), QoS: m.near("pods", "status.qosClass"),
		Kernel: node || phase || runs || m.near("pods", "spec"), Plan: node || phase || does(step.Sync),
	}
	v.Usage = v.Kernel || does(step.Usage)
	v.Probes = node || phase || does(step.Probe)
	v.Volumes = v.Kernel
	v.Calls = v.Kernel || v.IP || does(step.CNIAdd, step.CNIDel, step.CNICheck)
	return v
}

// PodList lists the pods that a page can be about: those of the default
// namespace first, then by name; deleted ones that a node still has at the end.
func PodList(s *fold.State) []fold.Key {
	var list []fold.Key
	for k := range s.Objects {
		if k.Resource == "pods" {
			list = append(list, k)
		}
	}
	slices.SortFunc(list, func(a, b fold.Key) int {
		other := func(k fold.Key) int {
			if k.Namespace == "default" {
				return 0
			}
			return 1
		}
		return cmp.Or(other(a)-other(b), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	return list
}

// FindPod finds the pod that somebody means: NAME, NAMESPACE/NAME, or else the
// only one whose name begins so.
func FindPod(s *fold.State, name string) (fold.Key, bool) {
	name = strings.TrimPrefix(strings.TrimPrefix(name, "pod/"), "Pod/")
	namespace, rest, ok := strings.Cut(name, "/")
	if !ok {
		namespace, rest = "", name
	}
	var found []fold.Key
	for _, k := range PodList(s) {
		if namespace != "" && k.Namespace != namespace {
			continue
		}
		if k.Name == rest {
			return k, true
		}
		if strings.HasPrefix(k.Name, rest) && rest != "" {
			found = append(found, k)
		}
	}
	if len(found) == 1 {
		return found[0], true
	}
	for k := range s.Gone {
		if k.Resource == "pods" && k.Name == rest && (namespace == "" || k.Namespace == namespace) {
			return k, true
		}
	}
	return fold.Key{}, false
}

// NewPodPage makes the page of a pod; nil if nothing is known of it.
func NewPodPage(s *fold.State, m Mask, key fold.Key) *PodPage {
	o := s.Objects[key]
	p := &PodPage{Namespace: key.Namespace, Name: key.Name, Hides: m.veil()}
	if o == nil {
		if o = s.Gone[key]; o == nil {
			return nil
		}
		p.Gone = true
	}
	node := o.Text("spec.nodeName")
	p.UID = o.Text("metadata.uid")
	p.head(s, m, o)
	if !p.Hides.Node {
		p.Node = node
	}
	box, g := (*fold.Sandbox)(nil), (*fold.Sight)(nil)
	if n := s.Nodes[node]; n != nil && n.Pods[key] != nil {
		box = n.Pods[key]
		g = box.Sight
	}
	if g != nil && g.Seen != nil && !p.Hides.Kernel {
		p.kernel(o, g)
	}
	if g != nil && !p.Hides.Probes {
		p.Probes = g.Probes
	}
	if !p.Hides.Life {
		p.life(s, m, o, box)
	}
	if !p.Hides.Calls {
		p.Calls = NewCNICalls(s, key)
	}
	if !p.Hides.Plan {
		p.plan(s, m, key, node, g)
	}
	return p
}

// head is what stands above everything else.
func (p *PodPage) head(s *fold.State, m Mask, o *fold.Object) {
	if d := pod(s, m, o); !p.Hides.Life {
		p.State, p.Word = d.State, d.Word
		p.Phase = o.Text("status.phase")
	} else {
		p.Word = "hidden.word"
	}
	if p.Gone {
		p.State, p.Word = Idle, "obj.gone"
	}
	if !p.Hides.QoS {
		p.QoS = o.Text("status.qosClass")
	}
	if !p.Hides.IP {
		p.IP = o.Text("status.podIP")
	}
}

// MarshalText implements encoding.TextMarshaler.
func (s State) MarshalText() ([]byte, error) {
	return []byte([]string{"idle", "good", "busy", "held", "bad"}[min(max(s, Idle), Bad)]), nil
}
