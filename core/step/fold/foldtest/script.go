// Package foldtest writes events as a real lab would, for the tests of what
// reads events: the fold, the terminal interface, the lessons.
//
// There are only two nouns: a [Script] writes single actions with their
// causes; [Deployment] is a script of a whole story, a Deployment of three
// pods on three nodes. Start at Deployment.
package foldtest

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/klab-project/klab/core/step"
)

// Script writes events. While Paused, each action is held before it begins.
type Script struct {
	Events []*step.Event
	Paused bool

	at   time.Duration
	step uint64
	id   uint64 // of held actions
	rv   int64
	made map[step.Object]map[string]any
	by   map[int64]uint64 // revision → request
}

// NewScript returns a script whose first revision is rv+1.
func NewScript(rv int64) *Script {
	return &Script{rv: rv, made: map[step.Object]map[string]any{}, by: map[int64]uint64{}}
}

// Held is an action that has been announced and not begun.
type Held struct {
	e      step.Event
	Detail any
}

// Step is the action's id.
func (h *Held) Step() uint64 { return h.e.Step }

func (s *Script) emit(e step.Event, phase step.Phase, detail any) {
	e.Seq, e.Phase = uint64(len(s.Events)+1), phase
	e.At = step.Seconds(s.at)
	e.Wall = 1_700_000_000_000_000 + s.at.Microseconds()
	if e.Class == "" {
		e.Class = e.Verb.Class()
	}
	if phase != step.PhaseBegin && phase != step.PhasePending && e.Class != step.ClassStage && phase != step.PhaseFact {
		e.Cause = nil
	}
	if detail != nil {
		raw, err := json.Marshal(detail)
		if err != nil {
			panic(err)
		}
		e.Detail = raw
	}
	s.Events = append(s.Events, &e)
}

// Tick lets lab time pass.
func (s *Script) Tick(d time.Duration) { s.at += d }

// RV is the newest revision.
func (s *Script) RV() int64 { return s.rv }

// Fact writes down something seen in a step.
func (s *Script) Fact(in uint64, e step.Event, detail any) {
	e.Step, e.Class = in, step.ClassFact
	s.emit(e, step.PhaseFact, detail)
}

// Hold announces an action: as pending if the script is paused.
func (s *Script) Hold(e step.Event, detail any) *Held {
	s.step++
	e.Step = s.step
	h := &Held{e: e, Detail: detail}
	if s.Paused && !e.Quiet && e.Class != step.ClassStage {
		s.id++
		s.emit(e, step.PhasePending, step.PendingDetail{ID: s.id, Detail: detail})
	}
	return h
}

// Run performs an announced action; f may write its children and returns the
// detail of its end.
func (s *Script) Run(h *Held, f func(id uint64) any) {
	s.emit(h.e, step.PhaseBegin, h.Detail)
	start := s.at
	s.Tick(300 * time.Microsecond)
	var end any
	if f != nil {
		end = f(h.e.Step)
	}
	e := h.e
	e.Took = step.Seconds(s.at - start)
	s.emit(e, step.PhaseEnd, end)
}

// Fail ends an announced action with an error, as a learner's choice.
func (s *Script) Fail(h *Held, how step.Kind, msg string) {
	e := h.e
	e.How, e.Err = string(how), msg
	s.emit(e, step.PhaseEnd, h.Detail)
}

// Do announces and performs an action.
func (s *Script) Do(e step.Event, detail any, f func(id uint64) any) uint64 {
	h := s.Hold(e, detail)
	s.Run(h, f)
	return h.e.Step
}

// stages of a write, in their order.
var stages = []step.Verb{step.Authenticate, step.Authorize, step.Route, step.Decode, step.Admit, step.Validate, step.Commit}

var notes = map[step.Verb]string{
	step.Authenticate: "client certificate", step.Authorize: "allowed", step.Admit: "defaults set", step.Validate: "valid",
	step.Commit: "stored",
}

// Write performs a request that makes object become value merged with patch;
// it returns the revision. An empty patch deletes.
func (s *Script) Write(actor, node string, verb step.Verb, o step.Object, sub string, parent uint64, patch map[string]any) int64 {
	method := map[step.Verb]string{step.Create: "POST", step.Update: "PUT", step.Patch: "PATCH", step.Delete: "DELETE"}[verb]
	d := step.RequestDetail{Method: method, Path: path(o, sub, verb), User: user(actor, node), Agent: actor + "/v1.37", Sub: sub, MediaType: "application/json"}
	var rv int64
	s.Do(step.Event{Actor: actor, Node: node, Verb: verb, Object: o, Parent: parent}, d, func(id uint64) any {
		kind := verb
		if sub != "" {
			kind = step.Update // of the object that the subresource belongs to
		}
		rv = s.commit(id, kind, o, patch)
		d.Code = 200
		if verb == step.Create {
			d.Code = 201
		}
		return d
	})
	return rv
}

func (s *Script) commit(request uint64, verb step.Verb, o step.Object, patch map[string]any) int64 {
	for _, v := range stages {
		s.step++
		id := s.step
		if v == step.Commit {
			s.rv++
			s.by[s.rv] = request
			s.store(id, verb, o, patch)
		}
		s.Tick(80 * time.Microsecond)
		s.emit(step.Event{Step: id, Actor: "kube-apiserver", Verb: v, Class: step.ClassStage, Object: o, Parent: request, Took: step.Seconds(80 * time.Microsecond)},
			step.PhaseEnd, step.StageDetail{Note: notes[v]})
	}
	return s.rv
}

func (s *Script) store(in uint64, verb step.Verb, o step.Object, patch map[string]any) {
	kind := "update"
	switch verb {
	case step.Create:
		kind = "create"
	case step.Delete:
		kind = "delete"
	}
	if kind != "delete" {
		if patch == nil {
			patch = map[string]any{}
		}
		meta, _ := patch["metadata"].(map[string]any)
		if meta == nil {
			meta = map[string]any{}
		}
		meta["resourceVersion"] = strconv.FormatInt(s.rv, 10)
		if kind == "create" {
			meta["name"], meta["uid"] = o.Name, fmt.Sprintf("uid-%d", s.rv)
			if o.Namespace != "" {
				meta["namespace"] = o.Namespace
			}
		}
		patch["metadata"] = meta
	}
	d := step.CommitDetail{Type: kind}
	if patch != nil && kind != "delete" {
		d.Patch, _ = json.Marshal(patch)
	}
	s.emit(step.Event{Step: in, Actor: "etcd", Verb: step.Commit, Class: step.ClassFact, Object: o, RV: s.rv}, step.PhaseFact, d)
}

// Snapshot writes an object down as it is when the lab begins.
func (s *Script) Snapshot(o step.Object, value map[string]any) {
	s.rv++
	raw, _ := json.Marshal(value)
	s.emit(step.Event{Actor: "etcd", Verb: step.Snapshot, Class: step.ClassFact, Object: o, RV: s.rv}, step.PhaseFact, step.CommitDetail{Type: "create", Patch: raw})
}

// Deliver announces the delivery of revision rv to a watcher.
func (s *Script) Deliver(actor, node, kind string, o step.Object, rv int64) *Held {
	var cause []uint64
	if by := s.by[rv]; by != 0 {
		cause = []uint64{by}
	}
	return s.Hold(step.Event{Actor: actor, Node: node, Verb: step.Deliver, Object: o, RV: rv, Cause: cause}, step.DeliverDetail{Type: kind, Agent: actor})
}

func path(o step.Object, sub string, verb step.Verb) string {
	resource, group := o.Resource, ""
	for i := range resource {
		if resource[i] == '.' {
			resource, group = resource[:i], resource[i+1:]
			break
		}
	}
	p := "/api/v1"
	if group != "" {
		p = "/apis/" + group + "/v1"
	}
	if o.Namespace != "" {
		p += "/namespaces/" + o.Namespace
	}
	p += "/" + resource
	if verb != step.Create {
		p += "/" + o.Name
	}
	if sub != "" {
		p += "/" + sub
	}
	return p
}

func user(actor, node string) string {
	switch {
	case node != "":
		return "system:node:" + node
	case actor == "kubectl":
		return "kubernetes-admin"
	case actor == "kube-scheduler":
		return "system:kube-scheduler"
	}
	return "system:kube-controller-manager"
}
