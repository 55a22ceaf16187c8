package view

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
)

// Loops is what control loops want, have and plan.
type Loops struct{ Rows []Loop }

// Loop is one key of one loop.
type Loop struct {
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
		r := Loop{Actor: Actor(t.Actor.Name, t.Actor.Node), Object: KeyName(t.LoopKey.Object), Want: t.Want, Have: t.Have, Plan: t.Plan,
			Merged: t.Merged, Retries: t.Retries, Turns: t.Turns, Err: t.Err, State: Good}
		switch {
		case t.Held:
			r.State = Held
		case t.Running:
			r.State = Busy
		case t.Err != "":
			r.State = Bad
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

// Network is the nodes' links and addresses.
type Network struct{ Nodes []NetNode }

// NetNode is the network of a node.
type NetNode struct {
	Name  string
	Links []NetLink
	Peers []step.OverlayDetail
	Pods  []NetPod
}

// NetLink is a link with its addresses.
type NetLink struct {
	Name, Kind string
	Addresses  []string
	Up         bool
}

// NetPod is a pod's address.
type NetPod struct{ Name, Address string }

// NewNetwork lists what the nodes reported.
func NewNetwork(s *fold.State, m Mask) *Network {
	n := &Network{}
	hide := m.Field("pods", "spec.nodeName") || m.Field("pods", "status.podIP") || m.Actor("kubelet")
	for _, name := range sorted(s.Nodes) {
		seen := s.Nodes[name]
		row := NetNode{Name: name, Links: links(seen.Links), Peers: seen.Peers}
		if hide {
			row.Links = slices.DeleteFunc(row.Links, func(l NetLink) bool { return strings.HasPrefix(l.Name, "veth") })
			n.Nodes = append(n.Nodes, row)
			continue
		}
		for k, b := range seen.Pods {
			row.Pods = append(row.Pods, NetPod{KeyName(k), strings.Join(b.Addresses, " ")})
		}
		slices.SortFunc(row.Pods, func(a, b NetPod) int { return strings.Compare(a.Name, b.Name) })
		n.Nodes = append(n.Nodes, row)
	}
	return n
}

// links reads a "links" fact: a list of links, or an object that has one.
func links(raw json.RawMessage) []NetLink {
	var v any
	if len(raw) == 0 || json.Unmarshal(raw, &v) != nil {
		return nil
	}
	if m, ok := v.(map[string]any); ok {
		v = m["links"]
	}
	list, _ := v.([]any)
	var out []NetLink
	for _, e := range list {
		l := NetLink{Name: anyOf(e, "name", "ifname", "link"), Kind: anyOf(e, "type", "kind"), Up: anyOf(e, "up", "state") != "false"}
		for _, key := range []string{"addresses", "addrs", "addr_info"} {
			addrs, _ := fold.Lookup(e, key).([]any)
			for _, a := range addrs {
				if s, ok := a.(string); ok {
					l.Addresses = append(l.Addresses, s)
				} else {
					l.Addresses = append(l.Addresses, anyOf(a, "address", "local"))
				}
			}
		}
		if l.Name != "" {
			out = append(out, l)
		}
	}
	return out
}

func anyOf(v any, keys ...string) string {
	for _, k := range keys {
		if s := fold.Scalar(fold.Lookup(v, k)); s != "" {
			return s
		}
	}
	return ""
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

// Log is a window of the events.
type Log struct{ Rows []Entry }

// Entry is an event in a list.
type Entry struct {
	Seq    uint64
	At     step.Seconds
	Phase  step.Phase
	Actor  string
	Verb   step.Verb
	Object string
	RV     int64
	Err    string
	Hidden bool
	Quiet  bool
}

// logScan is how many events a filter looks through at most.
const logScan = 20_000

// NewLog lists the last n events at or before seq that match the filter, the
// oldest first.
func NewLog(h *fold.History, m Mask, seq uint64, n int, filter string, quiet bool) *Log {
	l := &Log{}
	scanned := 0
	h.Back(seq, func(e *step.Event) bool {
		scanned++
		if e.Quiet && !quiet {
			return scanned < logScan
		}
		r := Entry{Seq: e.Seq, At: e.At, Phase: e.Phase, Actor: Actor(e.Actor, e.Node), Verb: e.Verb, Object: Name(e.Object), RV: e.RV, Err: e.Err, Quiet: e.Quiet}
		if m.Event(e) {
			r = Entry{Seq: e.Seq, At: e.At, Hidden: true}
		}
		if match(filter, r.Actor, string(r.Verb), r.Object, r.Err, string(r.Phase)) {
			l.Rows = append(l.Rows, r)
		}
		return len(l.Rows) < n && scanned < logScan
	})
	slices.Reverse(l.Rows)
	return l
}

// Ran is what really ran, the newest first.
type Ran struct{ Rows []Line }

// Line is a command line.
type Line struct {
	Seq    uint64
	Where  string
	Text   string
	Took   step.Seconds
	Exit   int
	Via    string
	Bad    bool
	Hidden bool
}

// NewRan lists the last n commands.
func NewRan(s *fold.State, m Mask, n int) *Ran {
	r := &Ran{}
	for i := len(s.Ran) - 1; i >= 0 && len(r.Rows) < n; i-- {
		x := s.Ran[i]
		l := Line{Seq: x.Seq, Where: x.Node, Text: x.Line, Took: x.Took, Exit: x.Exit, Via: x.Via}
		if l.Where == "" {
			l.Where = Actor(x.Actor, "")
		}
		l.Bad = x.Exit != 0 && (x.Via != "http" || x.Exit >= 400)
		if m.On(x.Actor, x.Node, step.Ran, x.Object.Resource) {
			l = Line{Seq: x.Seq, Hidden: true}
		}
		r.Rows = append(r.Rows, l)
	}
	return r
}

// Took words a duration shortly.
func Took(s step.Seconds) string {
	d := s.Duration()
	switch {
	case d == 0:
		return ""
	case d.Seconds() >= 1:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d.Milliseconds() >= 10:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}
