package view

import (
	"sort"

	"github.com/klab-project/klab/core/step"
)

// Lane is a row of the timeline.
type Lane uint8

// The lanes, in the order in which they are drawn.
const (
	You Lane = iota
	Requests
	Bus
	Control
	Scheduling
	Hands
	Net
	Lanes
)

// Tick is one step on the time axis.
type Tick struct {
	Seq    uint64
	Lane   Lane
	Letter byte
	Bad    bool
	Mark   bool
	Actor  string
	Node   string
	Verb   step.Verb
	Of     string // the resource
}

// Track lists the steps of a history at each zoom, in order, so that going
// back and forward and drawing a timeline need not look at every event.
type Track struct{ ticks [3][]Tick }

// Append takes further events, in order.
func (t *Track) Append(events ...*step.Event) {
	for _, e := range events {
		zoom, ok := stops(e)
		if !ok {
			continue
		}
		tick := Tick{Seq: e.Seq, Lane: laneOf(e), Letter: letter(e), Bad: e.Err != "", Mark: e.Verb == step.Mark, Actor: e.Actor, Node: e.Node, Verb: e.Verb, Of: e.Object.Resource}
		for z := zoom; z <= step.Finest; z++ {
			t.ticks[z] = append(t.ticks[z], tick)
		}
	}
}

// stops tells at which zoom an event is a step for somebody who looks back.
func stops(e *step.Event) (step.Zoom, bool) {
	switch e.Phase {
	case step.PhaseFact:
		switch e.Verb {
		case step.Mark, step.Exited, step.Lost, step.Connected, step.Reset, step.Pressure, step.PowerSet:
			return step.Coarse, true
		}
		if e.Verb == step.HopSeen {
			var d step.HopDetail
			if e.Decode(&d) == nil && !minor(&d.Hop) {
				return step.Coarse, true
			}
			return step.Fine, true
		}
		if e.Verb == step.Probe || e.Verb == step.Asked {
			return step.Fine, true
		}
		return step.Finest, true
	case step.PhasePending:
		return step.Finest, true
	}
	if e.Quiet || !heldByDefault(e.Verb) {
		return step.Finest, true
	}
	switch e.Verb {
	case step.Packet, step.Break, step.Mend, step.BackendSet, step.Resolve:
		return step.Coarse, true
	}
	fine := e.Class == step.ClassStage || e.Verb == step.Filter || e.Verb == step.Score || e.Class == step.ClassNet
	loop := e.Class == step.ClassReconcile || e.Verb == step.Schedule
	switch {
	case fine && e.Phase == step.PhaseEnd:
		return step.Fine, true
	case fine:
		return step.Finest, true
	case e.Phase == step.PhaseEnd || loop:
		return step.Coarse, true
	}
	return step.Fine, true
}

func heldByDefault(v step.Verb) bool {
	switch v {
	case step.Get, step.List, step.Watch, step.Connect, step.Exec:
		return false
	}
	return true
}

func laneOf(e *step.Event) Lane {
	switch e.Class {
	case step.ClassRequest, step.ClassStage:
		if e.Actor == "kubectl" {
			return You
		}
		return Requests
	case step.ClassDeliver:
		return Bus
	case step.ClassReconcile:
		return Control
	case step.ClassSchedule:
		return Scheduling
	case step.ClassCRI, step.ClassVolume:
		return Hands
	case step.ClassCNI, step.ClassNet:
		return Net
	}
	if e.Class == step.ClassTimer {
		return Control
	}
	switch e.Verb {
	case step.Exited, step.Lost, step.Connected, step.PodSeen, step.Processes, step.Usage, step.Probe, step.Cgroup, step.Worker, step.Pressure, step.PowerSet:
		return Hands
	case step.Commit, step.Snapshot:
		return Requests
	case step.Links, step.HopSeen, step.Carried, step.Asked:
		return Net
	}
	return You
}

// letters are those of verbs that are not written by their first one.
var letters = map[step.Verb]byte{
	step.Mark: '|', step.Create: '+', step.Delete: '-', step.DeleteCollection: '-', step.Update: '~', step.Patch: '~',
	step.RunPodSandbox: 'P', step.CreateContainer: 'C', step.StartContainer: 'C', step.PullImage: 'i',
	step.StopContainer: 'x', step.StopPodSandbox: 'x', step.RemovePodSandbox: 'x', step.RemoveContainer: 'x', step.Exited: 'x',
	step.CNIAdd: 'n', step.CNIDel: 'x', step.OverlayRemove: 'x', step.ProxySet: 'M', step.Balance: 'L', step.PolicySync: 'f',
	step.Lost: '!', step.Sync: 'k', step.Probe: 'p', step.PodSeen: 'o', step.Processes: 'o', step.Cgroup: 'o', step.Worker: 'o',
	step.Mount: 'm', step.Unmount: 'x', step.Evict: 'e', step.Pressure: '!', step.PowerSet: '!', step.Usage: 'u',
	step.Packet: '>', step.HopSeen: 'h', step.Break: '!', step.Mend: 'm', step.Resolve: '?', step.Query: 'q', step.Asked: 'q',
}

func letter(e *step.Event) byte {
	if e.Verb == step.Create && EventVerb(e) == "binding" {
		return 'b'
	}
	if l, ok := letters[e.Verb]; ok {
		return l
	}
	if e.Class == step.ClassTimer {
		return 't'
	}
	if e.Verb == "" {
		return '?'
	}
	return e.Verb[0]
}

// At returns the index of the last step at or before seq, or -1.
func (t *Track) At(z step.Zoom, seq uint64) int {
	list := t.ticks[z]
	return sort.Search(len(list), func(i int) bool { return list[i].Seq > seq }) - 1
}

// Move returns the number of the event n steps after seq, before it if n is
// negative; ok is false if the track ends there.
func (t *Track) Move(z step.Zoom, seq uint64, n int) (to uint64, ok bool) {
	list := t.ticks[z]
	i := t.At(z, seq)
	if n < 0 && i >= 0 && list[i].Seq < seq {
		n++ // the step before an event between two steps
	}
	i += n
	if i < 0 || i >= len(list) {
		return 0, false
	}
	return list[i].Seq, true
}

// Window returns at most n steps around seq, as many before as fit with a
// quarter of them after, and the index of the last one at or before seq.
func (t *Track) Window(z step.Zoom, seq uint64, n int) ([]Tick, int) {
	list := t.ticks[z]
	at := t.At(z, seq)
	end := min(len(list), max(at+1+n/4, n))
	start := max(0, end-n)
	return list[start:end], at - start
}
