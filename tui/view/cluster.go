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
	Masked  bool     // the newest write is hidden
	RV      int64
	Commit  string // what was stored last
	Type    string // create, update, delete

	Loops     []Box // controllers
	Scheduler Box
	Watches   int
	Inbox     int // deliveries that are held
	Nodes     []Machine
	Unbound   []Pod
	Faults    []FaultRow // what is broken on purpose, on no node
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
	Faults              []FaultRow // what is broken on it on purpose
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
	c := &Cluster{RV: s.RV, Request: request(s, m), Faults: FaultsOn(Faults(s, m), "")}
	c.Masked = c.Request == nil && s.Request != nil
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
			b.Note = string(Verb(d.Verb, d.Request.Sub)) + " " + Name(d.Object)
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
			b.Note = string(Verb(st.Verb, st.Request.Sub)) + " " + Name(st.Object)
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
