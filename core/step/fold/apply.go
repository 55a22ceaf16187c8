package fold

import (
	"encoding/json"
	"slices"

	"github.com/klab-project/klab/core/step"
)

// Apply moves the state to the event e, which must not be changed afterwards.
func (s *State) Apply(e *step.Event) {
	s.Seq, s.Wall = e.Seq, e.Wall
	s.At = max(s.At, e.At)
	switch e.Phase {
	case step.PhaseFact:
		s.fact(e)
	case step.PhasePending:
		s.pending(e)
	case step.PhaseBegin:
		st := s.begin(e)
		s.hands(e, st)
		s.call(e, st)
	case step.PhaseEnd:
		st := s.end(e)
		s.hands(e, st)
		s.call(e, st)
	}
	if e.Verb == step.HopSeen {
		s.hop(e)
	}
	if e.Err != "" {
		s.Errors = keepLast(s.Errors, Failure{e.Seq, e.Actor, e.Node, e.Verb, e.Object, e.Err, e.How}, errorsKept)
	}
}

func (s *State) fact(e *step.Event) {
	switch e.Verb {
	case step.Commit:
		s.commit(e)
	case step.Snapshot:
		s.commit(e)
	case step.Exited, step.Links, step.Carried:
		s.hands(e, nil)
	case step.PodSeen, step.Processes, step.Usage, step.Probe, step.Worker:
		s.sight(e)
	case step.Ran:
		var d step.RanDetail
		if e.Decode(&d) == nil && d.Line != "" {
			s.ran(Ran{e.Seq, e.At, e.Actor, e.Node, d.Line, d.Via, d.Took, d.Exit, e.Object})
		}
	case step.Mark:
		var d step.MarkDetail
		_ = e.Decode(&d)
		s.Marks = append(s.Marks, Mark{e.Seq, e.At, d.Name})
	case step.ModeSet:
		var d step.ModeDetail
		if e.Decode(&d) == nil {
			s.Mode = d.Mode
			s.Held = d.Mode.State == step.Paused
		}
	case step.ClockSet:
		var d step.ClockDetail
		if e.Decode(&d) == nil {
			s.At, s.Held = max(s.At, d.Now), d.Held
			if d.Rate > 0 {
				s.Rate = d.Rate
			}
		}
	case step.Timers:
		var d step.TimersDetail
		if e.Decode(&d) == nil {
			s.Timers = d.Timers
		}
	case step.Delayed:
		s.unhold(e.Step)
	case step.Connected:
		s.node(e, func(n *Node) { n.Connected, n.Lost = true, false })
	case step.Lost:
		s.lost(e)
	case step.Reset:
		s.forget()
		s.Runs++
	}
}

// replace changes a copy of an open step, wherever it is referred to.
func (s *State) replace(st *Step, change func(*Step)) *Step {
	c := *st
	change(&c)
	if _, open := s.Open[st.ID]; open {
		s.Open[st.ID] = &c
	}
	if s.Request != nil && s.Request.ID == st.ID {
		s.Request = &c
	}
	return &c
}

func (s *State) pending(e *step.Event) {
	var d step.PendingDetail
	_ = e.Decode(&d)
	st := s.open(e)
	s.unhold(e.Step)
	p := &Pending{ID: d.ID, Seq: e.Seq, At: e.At, Step: st}
	i, _ := slices.BinarySearchFunc(s.Pending, p, func(a, b *Pending) int {
		switch {
		case a.ID < b.ID:
			return -1
		case a.ID > b.ID:
			return 1
		}
		return 0
	})
	s.Pending = slices.Insert(s.Pending, i, p)
	s.actor(e, func(a *Actor) { a.waits(st, 1) })
	s.turn(st, e)
	if e.Verb == step.Packet {
		s.packet(e, st)
	}
	if req := s.Open[st.Parent]; st.Class == step.ClassStage && req != nil {
		s.replace(req, func(c *Step) { c.AtStage = st.Verb })
	}
}

// unhold takes a step off the held ones.
func (s *State) unhold(id uint64) {
	i := slices.IndexFunc(s.Pending, func(p *Pending) bool { return p.Step.ID == id })
	if i < 0 {
		return
	}
	st := s.Pending[i].Step
	s.Pending = slices.Delete(slices.Clone(s.Pending), i, i+1)
	s.actor(&step.Event{Actor: st.Actor, Node: st.Node}, func(a *Actor) { a.waits(st, -1) })
	if req := s.Open[st.Parent]; st.Class == step.ClassStage && req != nil {
		s.replace(req, func(c *Step) { c.AtStage = "" })
	}
}

// open returns the step of e, made if it is new.
func (s *State) open(e *step.Event) *Step {
	if st := s.Open[e.Step]; st != nil {
		return st
	}
	st := &Step{
		ID: e.Step, Parent: e.Parent, Cause: e.Cause, Actor: e.Actor, Node: e.Node, Verb: e.Verb, Class: e.Class,
		Object: e.Object, RV: e.RV, Quiet: e.Quiet, Seq: e.Seq, At: e.At, Detail: e.Detail,
	}
	if e.Phase == step.PhasePending {
		var inner json.RawMessage
		_ = e.Decode(&step.PendingDetail{Detail: &inner})
		st.Detail = inner
	}
	if st.Class == step.ClassRequest && len(st.Detail) > 0 {
		_ = json.Unmarshal(st.Detail, &st.Request)
	}
	s.Open[e.Step] = st
	if len(s.Open) > 2*openKept {
		s.closeOldest()
	}
	return st
}

// closeOldest forgets steps whose end was never recorded.
func (s *State) closeOldest() {
	seqs := make([]uint64, 0, len(s.Open))
	for _, st := range s.Open {
		seqs = append(seqs, st.Seq)
	}
	slices.Sort(seqs)
	limit := seqs[len(seqs)-openKept]
	for id, st := range s.Open {
		if st.Seq < limit {
			delete(s.Open, id)
		}
	}
}

func (s *State) begin(e *step.Event) *Step {
	st := s.open(e)
	s.unhold(e.Step)
	st = s.replace(s.Open[st.ID], func(c *Step) {
		c.Begun = true
		if c.Class == step.ClassRequest {
			_ = e.Decode(&c.Request)
		}
	})
	if st.Class == step.ClassRequest && writes(st.Verb) && !st.Quiet {
		s.Request = st
	}
	s.actor(e, func(a *Actor) { a.begins(st) })
	s.turn(st, e)
	if e.Verb == step.Packet {
		s.packet(e, st)
	}
	return st
}

func (s *State) end(e *step.Event) *Step {
	st := s.open(e)
	s.unhold(e.Step)
	st = s.replace(s.Open[st.ID], func(c *Step) {
		c.Ended, c.Took, c.Err, c.How = true, e.Took, e.Err, e.How
		if c.Class == step.ClassRequest {
			_ = e.Decode(&c.Request)
		}
	})
	delete(s.Open, e.Step)
	s.actor(e, func(a *Actor) { a.ends(st, e.Seq) })
	s.turn(st, e)
	switch e.Verb {
	case step.Packet:
		s.packet(e, st)
	case step.Break, step.Mend:
		s.fault(e, st)
	}
	switch st.Class {
	case step.ClassStage:
		s.stage(st, e)
	case step.ClassRequest:
		if st.Request.Method != "" && !st.Quiet && writes(st.Verb) {
			s.ran(Ran{e.Seq, e.At, e.Actor, e.Node, st.Request.Method + " " + st.Request.Path, "http", e.Took, st.Request.Code, e.Object})
		}
	}
	return st
}

// stage notes a finished stage in its request.
func (s *State) stage(st *Step, e *step.Event) {
	req := s.Open[st.Parent]
	if req == nil {
		return
	}
	var d step.StageDetail
	_ = e.Decode(&d)
	s.replace(req, func(c *Step) {
		c.Stages = append(slices.Clip(c.Stages), Stage{st.Verb, e.Seq, d.Note, e.Err, e.Took})
	})
}

// lost closes what an agent had under way when its stream ended.
func (s *State) lost(e *step.Event) {
	s.node(e, func(n *Node) { n.Connected, n.Lost = false, true })
	if e.Node == "" {
		return
	}
	for id, st := range s.Open {
		if st.Node == e.Node && st.Class != step.ClassDeliver && st.Class != step.ClassRequest {
			s.unhold(id)
			delete(s.Open, id)
		}
	}
	for k, a := range s.Actors {
		if k.Node == e.Node && a.Busy() {
			c := *a
			c.Doing = nil
			s.Actors[k] = &c
		}
	}
}

func (s *State) ran(r Ran) { s.Ran = keepLast(s.Ran, r, ranKept) }

func writes(v step.Verb) bool {
	switch v {
	case step.Create, step.Update, step.Patch, step.Delete, step.DeleteCollection:
		return true
	}
	return false
}
