package fold

import (
	"cmp"
	"maps"
	"slices"

	"github.com/klab-project/klab/core/step"
)

// ActorKey names an actor; Node is empty for the control plane.
type ActorKey struct{ Name, Node string }

// String is name@node.
func (k ActorKey) String() string {
	if k.Node == "" {
		return k.Name
	}
	return k.Name + "@" + k.Node
}

// Actor is somebody who performs steps or is sent deliveries.
type Actor struct {
	ActorKey
	Doing   []*Step // loops and hands under way, the outermost first
	Last    *Step   // what it last finished
	LastSeq uint64
	Held    int      // steps of its own that are held
	Inbox   int      // deliveries to it that are held
	Watches []string // what it has asked to watch
	Crashes int
}

// Busy tells whether it is in the middle of something.
func (a *Actor) Busy() bool { return len(a.Doing) > 0 }

// LoopKey names one key of one actor's loop.
type LoopKey struct {
	Actor  ActorKey
	Object Key
}

// Loop is the last turn of a control loop for one key.
type Loop struct {
	LoopKey
	step.ReconcileDetail
	Seq     uint64
	At      step.Seconds
	Running bool
	Held    bool
	Turns   int
	Err     string
	Verb    step.Verb
	Quiet   bool
}

// Doers lists the actors, control plane first, then by node.
func (s *State) Doers() []*Actor {
	list := slices.Collect(maps.Values(s.Actors))
	slices.SortFunc(list, func(a, b *Actor) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Name, b.Name))
	})
	return list
}

// LoopList lists the loops' last turns, the newest first.
func (s *State) LoopList() []*Loop {
	list := slices.Collect(maps.Values(s.Loops))
	slices.SortFunc(list, func(a, b *Loop) int { return cmp.Compare(b.Seq, a.Seq) })
	return list
}

// actor changes a copy of the actor that e names.
func (s *State) actor(e *step.Event, change func(*Actor)) {
	if e.Actor == "" || e.Actor == "gate" || e.Actor == "clock" || e.Actor == "etcd" {
		return
	}
	k := ActorKey{e.Actor, e.Node}
	a := &Actor{ActorKey: k}
	if old := s.Actors[k]; old != nil {
		*a = *old
	}
	change(a)
	s.Actors[k] = a
}

// works tells whether a step is something that its actor does, rather than
// something that is done to it or that the API server does for it.
func works(st *Step) bool {
	switch st.Class {
	case step.ClassDeliver, step.ClassStage, step.ClassTimer, step.ClassFact:
		return false
	}
	return st.Verb != step.Watch && st.Verb != step.Connect && st.Verb != step.Exec
}

func (a *Actor) begins(st *Step) {
	a.LastSeq = max(a.LastSeq, st.Seq)
	switch {
	case st.Verb == step.Watch:
		if w := watchName(st.Object); !slices.Contains(a.Watches, w) {
			a.Watches = append(slices.Clip(a.Watches), w)
		}
	case works(st) && !st.Quiet:
		a.Doing = append(slices.Clip(a.Doing), st)
	}
}

func (a *Actor) ends(st *Step, seq uint64) {
	a.LastSeq = seq
	if st.Verb == step.Watch {
		if st.Err == "" {
			return // the request is over, the stream goes on
		}
		a.Watches = slices.DeleteFunc(slices.Clone(a.Watches), func(w string) bool { return w == watchName(st.Object) })
		return
	}
	if !works(st) {
		return
	}
	a.Last = st
	a.Doing = slices.DeleteFunc(slices.Clone(a.Doing), func(d *Step) bool { return d.ID == st.ID })
	if st.How == string(step.Crash) {
		a.Crashes++
		a.Doing, a.Watches = nil, nil
	}
}

func (a *Actor) waits(st *Step, n int) {
	if st.Class == step.ClassDeliver {
		a.Inbox = max(0, a.Inbox+n)
		return
	}
	a.Held = max(0, a.Held+n)
}

func watchName(o step.Object) string {
	if o.Name != "" {
		return o.Resource + "/" + o.Name
	}
	return o.Resource
}

// turn notes a turn of a loop.
func (s *State) turn(st *Step, e *step.Event) {
	if st.Class != step.ClassReconcile && st.Verb != step.Schedule {
		return
	}
	k := LoopKey{ActorKey{st.Actor, st.Node}, KeyOf(st.Object)}
	l := &Loop{LoopKey: k}
	if old := s.Loops[k]; old != nil {
		*l = *old
	}
	l.Seq, l.At, l.Verb, l.Quiet = e.Seq, e.At, st.Verb, st.Quiet
	l.Held, l.Running, l.Err = e.Phase == step.PhasePending, e.Phase == step.PhaseBegin, e.Err
	if e.Phase == step.PhaseBegin {
		l.Turns++
	}
	var d step.ReconcileDetail
	if e.Phase != step.PhasePending && len(e.Detail) > 0 && e.Decode(&d) == nil {
		if e.Phase == step.PhaseEnd && d.Merged == 0 {
			d.Merged = l.Merged
		}
		l.ReconcileDetail = d
	}
	var cycle step.ScheduleDetail
	if st.Verb == step.Schedule && e.Phase == step.PhaseEnd && e.Decode(&cycle) == nil && cycle.Chosen != "" {
		l.Plan = []string{"→ " + cycle.Chosen}
	}
	s.Loops[k] = l
	if len(s.Loops) > 2*loopsKept {
		for _, old := range s.LoopList()[loopsKept:] {
			delete(s.Loops, old.LoopKey)
		}
	}
}
