package view

import (
	"slices"
	"strings"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
)

// Cluster is the stage: who is doing what, and where the pods are.
type Cluster struct {
	Line    string   // what you ran last
	Waits   bool     // your request waits at the door
	Request *Request // the newest write
	RV      int64
	Commit  string // what was stored last
	Type    string // create, update, delete

	Loops     []Box // controllers
	Scheduler Box
	Watches   int
	Inbox     int // deliveries that are held
	Nodes     []Machine
	Unbound   []Pod
}

// Request is a request on its way through the stages of the API server.
type Request struct {
	Actor, Method, Object string
	Sub                   string
	Stages                []Light
	Code                  int
	RV                    int64
	Done                  bool
	Err                   string
	State                 State
}

// Light is a stage of a request.
type Light struct {
	Verb  step.Verb
	State State
}

// Box is an actor.
type Box struct {
	Name    string
	State   State
	Word    string // key of the text
	Note    string // what it does
	Inbox   int
	Crashes int
	Hidden  bool
}

// Machine is a node.
type Machine struct {
	Name, Address, CIDR string
	Ready               State
	Word                string
	Kubelet             Box
	Pulling             []string
	Pods                []Pod
	Lost                bool
}

// Pod is a pod wherever it is.
type Pod struct {
	Name       string
	State      State
	Word       string // key of the text, or the API's own reason
	IP         string
	Box        string // of its sandbox, "" if it has none
	Containers []fold.Container
	Restarts   int64
	Held       string // the verb that is held for it, on its node
	Hidden     bool
}

// NewCluster makes the stage.
func NewCluster(s *fold.State, m Mask) *Cluster {
	c := &Cluster{RV: s.RV, Request: request(s, m)}
	for i := len(s.Ran) - 1; i >= 0 && c.Line == ""; i-- {
		if s.Ran[i].Actor == "kubectl" && s.Ran[i].Via != "http" && !m.Step("kubectl", step.Ran) {
			c.Line = s.Ran[i].Line
		}
	}
	for _, p := range s.Pending {
		if p.Step.Actor == "kubectl" && p.Step.Class == step.ClassRequest && !m.Step("kubectl", p.Step.Verb) {
			c.Waits, c.Line = true, "kubectl "+string(p.Step.Verb)+" "+Name(p.Step.Object)
			break
		}
	}
	if r := s.Request; c.Line == "" && r != nil && r.Actor == "kubectl" && !m.Step(r.Actor, r.Verb) {
		c.Line = "kubectl " + string(r.Verb) + " " + Name(r.Object)
	}
	if s.Commit != nil && !m.touches(s.Committed.Resource) && !m.hidesCommit(s) {
		c.Commit, c.Type = KeyName(s.Committed), s.Commit.Type
	}
	c.Scheduler = box(s, m, fold.ActorKey{Name: "kube-scheduler"})
	names := []string{"deployment-controller", "replicaset-controller"}
	for k, a := range s.Actors {
		if k.Node == "" && isController(k.Name) && !slices.Contains(names, k.Name) && (a.Busy() || a.Held > 0 || a.Inbox > 0) {
			names = append(names, k.Name)
		}
	}
	slices.Sort(names[2:])
	for _, n := range names {
		c.Loops = append(c.Loops, box(s, m, fold.ActorKey{Name: n}))
	}
	for k, a := range s.Actors {
		if isController(k.Name) || k.Name == "kube-scheduler" || k.Name == "kubelet" {
			c.Watches += len(a.Watches)
		}
		if !m.On(k.Name, k.Node, step.Deliver, "pods") {
			c.Inbox += a.Inbox
		}
	}
	c.machines(s, m)
	return c
}

func (m Mask) hidesCommit(s *fold.State) bool {
	return s.Request != nil && s.Request.RV == s.Commit.RV && m.On(s.Request.Actor, s.Request.Node, s.Request.Verb, s.Request.Object.Resource) || m.verbs[string(step.Commit)]
}

func isController(name string) bool {
	return strings.HasSuffix(name, "-controller") || name == "garbage-collector"
}

// usual are the stages that every write goes through.
var usual = []step.Verb{step.Authenticate, step.Authorize, step.Decode, step.Admit, step.Validate, step.Commit}

func request(s *fold.State, m Mask) *Request {
	r := s.Request
	if r == nil || m.On(r.Actor, r.Node, r.Verb, r.Object.Resource) {
		return nil
	}
	q := &Request{Actor: Actor(r.Actor, r.Node), Method: r.Request.Method, Object: Name(r.Object), Sub: r.Request.Sub,
		Code: r.Request.Code, RV: r.RV, Done: r.Ended, Err: r.Err, State: Busy}
	if m.verbs[string(step.Commit)] {
		q.RV = 0
	}
	if r.Ended {
		if q.State = Good; r.Err != "" || q.Code >= 400 {
			q.State = Bad
		}
	}
	done := map[step.Verb]fold.Stage{}
	order := slices.Clone(usual)
	for _, st := range r.Stages {
		done[st.Verb] = st
	}
	if _, ok := done[step.Convert]; ok {
		order = slices.Insert(order, 3, step.Convert)
	}
	for _, v := range order {
		l := Light{Verb: v}
		st, ok := done[v]
		switch {
		case ok && st.Err != "":
			l.State = Bad
		case ok:
			l.State = Good
		case r.AtStage == v:
			l.State = Held
		case r.Ended && q.State == Good:
			l.State = Good
		}
		q.Stages = append(q.Stages, l)
	}
	return q
}

func box(s *fold.State, m Mask, k fold.ActorKey) Box {
	b := Box{Name: Actor(k.Name, k.Node), Word: "state.idle", State: Idle}
	if m.Actor(k.Name) || k.Node != "" && m.Field("pods", "spec.nodeName") {
		b.Hidden, b.Word = true, "hidden.word"
		return b
	}
	a := s.Actors[k]
	if a == nil {
		b.Word = "state.absent"
		return b
	}
	b.Crashes, b.Inbox = a.Crashes, a.Inbox
	if b.State = Good; a.Busy() {
		b.State, b.Word = Busy, "state.busy"
		if d := a.Doing[0]; !m.verbs[string(d.Verb)] {
			b.Note = string(d.Verb) + " " + Name(d.Object)
		}
	}
	if m.verbs[string(step.Deliver)] {
		b.Inbox = 0
	}
	held := 0
	for _, p := range s.Pending {
		st := p.Step
		if st.Actor != k.Name || st.Node != k.Node || st.Class == step.ClassDeliver || st.Class == step.ClassStage || m.verbs[string(st.Verb)] {
			continue
		}
		if held++; held == 1 {
			b.Note = string(st.Verb) + " " + Name(st.Object)
		}
	}
	switch {
	case held > 0:
		b.State, b.Word = Held, "state.held"
	case b.Inbox > 0 && b.State == Good:
		b.State = Held
		b.Word = "state.inbox"
	}
	return b
}

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

// ghosts adds sandboxes whose pod the API no longer has.
func (n *Machine) ghosts(s *fold.State, seen *fold.Node, m Mask) {
	if m.Actor("kubelet") {
		return
	}
	for k, b := range seen.Pods {
		if s.Objects[k] == nil && k.Name != "" {
			n.Pods = append(n.Pods, Pod{Name: k.Name, State: Bad, Word: "obj.gone", Box: b.State, Containers: b.Containers})
		}
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
			p.Held = string(w.Step.Verb)
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
