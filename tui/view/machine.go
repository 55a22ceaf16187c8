package view

import (
	"slices"
	"strings"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
)

func (c *Cluster) machines(s *fold.State, m Mask) {
	byNode := map[string][]Pod{}
	hideNode := m.Field("pods", "spec.nodeName")
	for _, o := range s.List("pods") {
		p := pod(s, m, o)
		n := o.Text("spec.nodeName")
		if hideNode && n != "" {
			n, p.Hidden, p.Box, p.Containers, p.IP = "", true, "", nil, ""
		}
		if n == "" {
			c.Unbound = append(c.Unbound, p)
			continue
		}
		byNode[n] = append(byNode[n], p)
	}
	names := map[string]bool{}
	for _, o := range s.List("nodes") {
		names[o.Name] = true
		n := Machine{Name: o.Name, Address: address(o), CIDR: o.Text("spec.podCIDR"), Word: "state.unknown"}
		switch o.Text("status.conditions[Ready].status") {
		case "True":
			n.Ready, n.Word = Good, "state.ready"
		case "False", "Unknown":
			n.Ready, n.Word = Bad, "state.notready"
		}
		c.Nodes = append(c.Nodes, n)
	}
	for _, name := range sorted(s.Nodes) {
		if !names[name] {
			c.Nodes = append(c.Nodes, Machine{Name: name, Word: "state.unknown"})
		}
	}
	for i := range c.Nodes {
		n := &c.Nodes[i]
		n.Kubelet = box(s, m, fold.ActorKey{Name: "kubelet", Node: n.Name})
		n.Kubelet.Name = "kubelet"
		n.Pods = byNode[n.Name]
		n.Faults = FaultsOn(Faults(s, m), n.Name)
		if seen := s.Nodes[n.Name]; seen != nil {
			n.Lost = seen.Lost
			if !m.On("kubelet", n.Name, step.PullImage, "pods") {
				n.Pulling = seen.Pulling
			}
			if !hideNode {
				n.ghosts(s, seen, m)
			}
		}
	}
}

// singles is the namespace of containers that "klab container" runs: they have
// a sandbox, and no pod in the API.
const singles = "containers"

// ghosts adds sandboxes whose pod the API no longer has, or never had.
func (n *Machine) ghosts(s *fold.State, seen *fold.Node, m Mask) {
	if m.Actor("kubelet") {
		return
	}
	for k, b := range seen.Pods {
		if s.Objects[k] != nil || k.Name == "" {
			continue
		}
		p := Pod{Name: k.Name, State: Bad, Word: "obj.gone", Box: b.State, Containers: b.Containers}
		if k.Namespace == singles {
			p.State, p.Word = Idle, "pod.single"
		}
		if len(b.Addresses) > 0 {
			p.IP, _, _ = strings.Cut(b.Addresses[0], "/")
		}
		n.Pods = append(n.Pods, p)
	}
	slices.SortStableFunc(n.Pods, func(a, b Pod) int { return strings.Compare(a.Name, b.Name) })
}

func pod(s *fold.State, m Mask, o *fold.Object) Pod {
	p := Pod{Name: o.Name, Word: "pod.pending", State: Idle}
	if o.Namespace != "default" {
		p.Name = o.Namespace + "/" + o.Name
	}
	nodeName := o.Text("spec.nodeName")
	if !m.Actor("kubelet") {
		if n := s.Nodes[nodeName]; n != nil {
			if b := n.Pods[o.Key]; b != nil {
				p.Box, p.Containers = b.State, b.Containers
				if len(b.Addresses) > 0 {
					p.IP, _, _ = strings.Cut(b.Addresses[0], "/")
				}
			}
		}
	}
	if ip := o.Text("status.podIP"); ip != "" {
		p.IP = ip
	}
	if m.Field("pods", "status.podIP") {
		p.IP = ""
	}
	p.phase(o, nodeName)
	if m.Field("pods", "status") || m.Field("pods", "status.phase") {
		p.State, p.Word = Idle, "hidden.word"
	}
	for _, w := range s.Pending {
		if w.Step.Object.Resource == "pods" && fold.KeyOf(w.Step.Object) == o.Key && !m.Step(w.Step.Actor, w.Step.Verb) && w.Step.Node != "" && w.Step.Class != step.ClassDeliver {
			p.Held = string(Verb(w.Step.Verb, w.Step.Request.Sub))
			break
		}
	}
	return p
}

func (p *Pod) phase(o *fold.Object, node string) {
	switch o.Text("status.phase") {
	case "Running":
		p.State, p.Word = Good, "pod.running"
	case "Succeeded":
		p.State, p.Word = Idle, "pod.succeeded"
	case "Failed":
		p.State, p.Word = Bad, "pod.failed"
	default:
		if node != "" {
			p.State, p.Word = Busy, "pod.bound"
		}
		if p.Box != "" {
			p.State, p.Word = Busy, "pod.creating"
		}
	}
	for _, list := range []string{"status.initContainerStatuses", "status.containerStatuses"} {
		statuses, _ := o.Get(list).([]any)
		for _, c := range statuses {
			if n, ok := fold.Lookup(c, "restartCount").(float64); ok {
				p.Restarts += int64(n)
			}
			if r := fold.Scalar(fold.Lookup(c, "state.waiting.reason")); r != "" && r != "ContainerCreating" && r != "PodInitializing" {
				p.State, p.Word = Bad, r
			}
		}
	}
	if o.Text("metadata.deletionTimestamp") != "" {
		p.State, p.Word = Busy, "pod.terminating"
	}
}

func address(o *fold.Object) string {
	list, _ := o.Get("status.addresses").([]any)
	for _, a := range list {
		if fold.Scalar(fold.Lookup(a, "type")) == "InternalIP" {
			return fold.Scalar(fold.Lookup(a, "address"))
		}
	}
	return ""
}

func sorted[V any](m map[string]V) []string {
	list := make([]string, 0, len(m))
	for k := range m {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}
