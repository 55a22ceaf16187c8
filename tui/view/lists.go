package view

import (
	"slices"
	"strings"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
)

// Loops is what control loops want, have and plan.
type Loops struct{ Rows []Loop }

// Loop is one key of one loop.
type Loop struct {
	Key           fold.Key
	Actor, Object string
	Want, Have    *int64
	Plan          []string
	Merged        int
	Retries       int
	Turns         int
	State         State
	Err           string
}

// NewLoops lists the loops, the newest turn first.
func NewLoops(s *fold.State, m Mask, filter string) *Loops {
	l := &Loops{}
	for _, t := range s.LoopList() {
		if t.Quiet && s.Mode.Zoom < step.Finest || m.On(t.Actor.Name, t.Actor.Node, t.Verb, t.LoopKey.Object.Resource) {
			continue
		}
		r := Loop{Key: t.LoopKey.Object, Actor: Actor(t.Actor.Name, t.Actor.Node), Object: KeyName(t.LoopKey.Object), Want: t.Want, Have: t.Have, Plan: t.Plan,
			Merged: t.Merged, Retries: t.Retries, Turns: t.Turns, Err: t.Err, State: Good}
		switch {
		case t.Held:
			r.State = Held
		case t.Running:
			r.State = Busy
		case t.Err != "":
			r.State = Bad
		}
		watchful := t.LoopKey.Object.Resource == "nodes" && t.Actor.Node == "" && r.State == Good && len(t.Plan) == 0
		if watchful && s.Mode.Zoom < step.Finest {
			continue // the watch over nodes, while nothing is wrong with them
		}
		if match(filter, r.Actor, r.Object) {
			l.Rows = append(l.Rows, r)
		}
	}
	return l
}

func match(filter string, words ...string) bool {
	if filter == "" {
		return true
	}
	all := strings.ToLower(strings.Join(words, " "))
	for _, f := range strings.Fields(strings.ToLower(filter)) {
		if !strings.Contains(all, f) {
			return false
		}
	}
	return true
}

// Objects is the list of API objects.
type Objects struct {
	Rows []Item
	All  int
}

// Item is an API object in a list.
type Item struct {
	Key    fold.Key
	Name   string
	RV     int64
	Status string
	State  State
	Fresh  bool // the newest commit
}

// NewObjects lists the objects that match the filter.
func NewObjects(s *fold.State, m Mask, filter string) *Objects {
	l := &Objects{}
	for _, o := range s.List("") {
		l.All++
		it := Item{Key: o.Key, Name: KeyName(o.Key), RV: o.RV, Fresh: o.RV == s.RV}
		it.Status, it.State = status(m, o)
		if match(filter, it.Name, it.Status) {
			l.Rows = append(l.Rows, it)
		}
	}
	slices.SortStableFunc(l.Rows, func(a, b Item) int {
		return rank(a.Key.Resource) - rank(b.Key.Resource)
	})
	return l
}

var ranks = []string{"deployments.apps", "replicasets.apps", "pods", "nodes", "services", "configmaps", "namespaces"}

func rank(resource string) int {
	if i := slices.Index(ranks, resource); i >= 0 {
		return i
	}
	return len(ranks)
}

func status(m Mask, o *fold.Object) (string, State) {
	n := func(path string) string {
		if m.Field(o.Resource, path) {
			return "?"
		}
		if s := o.Text(path); s != "" {
			return s
		}
		return "0"
	}
	switch o.Resource {
	case "deployments.apps", "replicasets.apps":
		have, want := n("status.readyReplicas"), n("spec.replicas")
		st := Good
		if have != want {
			st = Busy
		}
		return have + "/" + want, st
	case "pods":
		if m.Field("pods", "status") || m.Field("pods", "status.phase") {
			return hidden, Idle
		}
		p := Pod{}
		p.phase(o, o.Text("spec.nodeName"))
		st := o.Text("status.phase")
		if node := o.Text("spec.nodeName"); node != "" && !m.Field("pods", "spec.nodeName") {
			st += " " + node
		}
		return st, p.State
	case "nodes":
		if o.Text("status.conditions[Ready].status") == "True" {
			return "Ready", Good
		}
		return "NotReady", Bad
	}
	return o.Text("status.phase"), Idle
}
