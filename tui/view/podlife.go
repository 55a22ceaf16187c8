package view

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
)

// ContainerRow is how a container is doing.
type ContainerRow struct {
	Name     string        `json:"name"`
	Kind     string        `json:"kind,omitempty"` // init, sidecar, ephemeral
	State    State         `json:"state"`
	Word     string        `json:"word"` // running, waiting, terminated: or the API's reason
	Image    string        `json:"image,omitempty"`
	Ready    bool          `json:"ready"`
	Restarts int64         `json:"restarts"`
	Exit     *int64        `json:"exitCode,omitempty"` // of this run, or of the last one
	Reason   string        `json:"reason,omitempty"`   // of that end
	Message  string        `json:"message,omitempty"`
	Again    *step.Seconds `json:"again,omitempty"`   // lab time from now at which a back-off ends
	Backoff  *step.Seconds `json:"backoff,omitempty"` // how long it is
}

// Condition is one of the pod's, and since when, on the lab clock, it is so.
type Condition struct {
	Type    string       `json:"type"`
	Status  string       `json:"status"`
	Reason  string       `json:"reason,omitempty"`
	Message string       `json:"message,omitempty"`
	Since   step.Seconds `json:"since"`
	State   State        `json:"state"`
}

// Plan is what the kubelet does next.
type Plan struct {
	Actor   string       `json:"actor"`
	At      step.Seconds `json:"at"`
	Turns   int          `json:"turns"`
	Worker  string       `json:"worker,omitempty"` // sync, terminating, terminated
	Running bool         `json:"running,omitempty"`
	Held    bool         `json:"held,omitempty"`
	Err     string       `json:"err,omitempty"`
	Steps   []string     `json:"steps,omitempty"`
	Waits   []Waiting    `json:"waits,omitempty"` // held actions and timers about this pod
}

var statusLists = [][2]string{{"init", "status.initContainerStatuses"}, {"", "status.containerStatuses"}, {"ephemeral", "status.ephemeralContainerStatuses"}}

func (p *PodPage) life(s *fold.State, m Mask, o *fold.Object, box *fold.Sandbox) {
	value := m.Value("pods", o.Value, "")
	for _, l := range statusLists {
		list, _ := fold.Lookup(value, l[1]).([]any)
		for _, c := range list {
			r := containerRow(c, l[0])
			if l[0] == "init" && fold.Scalar(fold.Lookup(value, "spec.initContainers["+r.Name+"].restartPolicy")) == "Always" {
				r.Kind = "sidecar"
			}
			r.again(s, o, fold.Scalar(fold.Lookup(c, "state.waiting.message")))
			p.Containers = append(p.Containers, r)
		}
	}
	if len(p.Containers) == 0 && box != nil {
		for _, c := range box.Containers {
			p.Containers = append(p.Containers, ContainerRow{Name: c.Name, State: Busy, Word: c.State, Image: c.Image})
		}
	}
	p.history(m, o)
	list, _ := fold.Lookup(value, "status.conditions").([]any)
	for _, c := range list {
		text := func(k string) string { return fold.Scalar(fold.Lookup(c, k)) }
		d := Condition{Type: text("type"), Status: text("status"), Reason: text("reason"), Message: text("message"), State: Idle}
		if m.Field("pods", "status.conditions["+d.Type+"]") {
			continue
		}
		switch {
		case d.Status == "True" && d.Type != "DisruptionTarget":
			d.State = Good
		case d.Status == "True" || d.Status == "False" && p.Phase != "Pending" && p.Phase != "Succeeded":
			d.State = Bad
		}
		d.Since = o.Last.At
		for _, t := range p.History {
			if t.Kind == "condition" && t.What == d.Type {
				d.Since = t.At
			}
		}
		p.Conditions = append(p.Conditions, d)
	}
}

func containerRow(c any, kind string) ContainerRow {
	text := func(path string) string { return fold.Scalar(fold.Lookup(c, path)) }
	r := ContainerRow{Name: text("name"), Kind: kind, Image: text("image"), Ready: text("ready") == "true"}
	if n, ok := fold.Lookup(c, "restartCount").(float64); ok {
		r.Restarts = int64(n)
	}
	r.Word, r.State = containerWord(c)
	for _, end := range []string{"lastState.terminated", "state.terminated"} {
		if code, ok := fold.Lookup(c, end+".exitCode").(float64); ok {
			n := int64(code)
			r.Exit, r.Reason, r.Message = &n, text(end+".reason"), text(end+".message")
		}
	}
	if w := text("state.waiting.message"); w != "" {
		r.Message = w
	}
	return r
}

// containerWord is a container's state in one word of the API's.
func containerWord(status any) (string, State) {
	c, _ := status.(map[string]any)
	state := child(c, "state")
	if state["running"] != nil {
		return "running", Good
	}
	if end := child(state, "terminated"); end != nil {
		if code, _ := end["exitCode"].(float64); code == 0 {
			return or(word(end, "reason"), "terminated"), Idle
		}
		return or(word(end, "reason"), "terminated"), Bad
	}
	reason := or(word(child(state, "waiting"), "reason"), "waiting")
	if reason == "ContainerCreating" || reason == "PodInitializing" || reason == "waiting" {
		return reason, Busy
	}
	return reason, Bad
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// again finds when a container that waits is tried again: the timer says it
// exactly while the clock is held, else the kubelet's message and the moment
// at which it was first said.
func (r *ContainerRow) again(s *fold.State, o *fold.Object, message string) {
	if r.Word != "CrashLoopBackOff" && r.Word != "ImagePullBackOff" {
		return
	}
	var at *step.Seconds
	if wait, ok := backoffOf(message); ok {
		long := step.Seconds(wait)
		r.Backoff = &long
		for rev := o.Last; rev != nil; rev = rev.Prev { // since when it has been so
			if w, _ := containerWord(statusOf(rev.Value, r.Name)); w != r.Word {
				break
			}
			due := rev.At + long
			at = &due
		}
	}
	for _, t := range s.Timers {
		if t.Node != "" && fold.KeyOf(t.Object) == o.Key && purpose(s, t) == "timer.backoff" {
			due := t.Due
			at = &due
			break
		}
	}
	if at != nil {
		left := max(0, *at-s.At)
		r.Again = &left
	}
}

func statusOf(value map[string]any, name string) any {
	for _, l := range statusLists {
		if c := fold.Lookup(value, l[1]+"["+name+"]"); c != nil {
			return c
		}
	}
	return nil
}

// backoffOf reads "back-off 10s restarting failed container=…" and "Back-off
// pulling image …" as kubelets word them.
func backoffOf(message string) (time.Duration, bool) {
	for word := range splitWords(message) {
		if d, err := time.ParseDuration(word); err == nil && d > 0 {
			return d, true
		}
	}
	return 0, false
}

func splitWords(s string) func(func(string) bool) {
	return func(yield func(string) bool) {
		start := 0
		for i := 0; i <= len(s); i++ {
			if i == len(s) || s[i] == ' ' {
				if i > start && !yield(s[start:i]) {
					return
				}
				start = i + 1
			}
		}
	}
}

// plan is the kubelet's last turn for this pod, and what of the pod waits.
func (p *PodPage) plan(s *fold.State, m Mask, key fold.Key, node string, g *fold.Sight) {
	d := &Plan{Actor: Actor("kubelet", node)}
	if g != nil && !m.verbs[string(step.Worker)] {
		d.Worker = g.Worker
	}
	if l := s.Loops[fold.LoopKey{Actor: fold.ActorKey{Name: "kubelet", Node: node}, Object: key}]; l != nil && node != "" {
		d.At, d.Turns, d.Running, d.Held, d.Err, d.Steps = l.At, l.Turns, l.Running, l.Held, l.Err, l.Plan
	}
	d.Waits = append(d.Waits, NewPending(about(s, key), m, nil).Rows...)
	if d.Turns > 0 || len(d.Waits) > 0 {
		p.Plan = d
	}
}

// about is s with only those held actions and timers that are about a pod.
func about(s *fold.State, key fold.Key) *fold.State {
	c := *s
	c.Pending, c.Timers = nil, nil
	c.Mode.Zoom = step.Finest // housekeeping of the pod counts here
	for _, w := range s.Pending {
		if fold.KeyOf(w.Step.Object) == key || podNamed(w.Step, key) {
			c.Pending = append(c.Pending, w)
		}
	}
	for _, t := range s.Timers {
		if fold.KeyOf(t.Object) == key {
			c.Timers = append(c.Timers, t)
		}
	}
	return &c
}

// podNamed tells whether a step about a container is about the pod's.
func podNamed(st *fold.Step, key fold.Key) bool {
	if st.Class != step.ClassCRI || st.Object.Resource != "containers" {
		return false
	}
	var d step.RuntimeDetail
	return json.Unmarshal(st.Detail, &d) == nil && (d.Pod == key.Name || d.Pod == key.Namespace+"/"+key.Name)
}

// Times is a count as text for people: "x3".
func Times(n int64) string { return "x" + strconv.FormatInt(n, 10) }
