// Package remote carries steps over HTTP.
//
// [Server] is the daemon's side: the paths under /klab/v1/. [Client] is what
// the terminal interface and the command line use to follow events and to
// pick. [Link] is an agent's side: it sends the agent's events, asks about
// what the gate holds, and follows the daemon's mode and clock. When a link
// is lost the agent's gate is open, and the journal says so.
package remote

import (
	"encoding/json"

	"github.com/klab-project/klab/core/step"
)

// Prefix is the path under which a Server answers.
const Prefix = "/klab/v1/"

// up is one line from an agent; exactly one field is set.
type up struct {
	Event  *step.Event    `json:"event,omitempty"`
	Ask    *step.Event    `json:"ask,omitempty"`    // answered by a grant for its step
	Forget uint64         `json:"forget,omitempty"` // the step no longer waits
	Timers []step.Pending `json:"timers,omitempty"`
}

// down is one line to an agent; exactly one field is set.
type down struct {
	Base  uint64     `json:"base,omitempty"` // step ids begin after it; the first line
	Clock *reading   `json:"clock,omitempty"`
	Mode  *step.Mode `json:"mode,omitempty"`
	Grant *grant     `json:"grant,omitempty"`
}

type reading struct {
	Began int64        `json:"began"` // Unix nanoseconds
	Now   step.Seconds `json:"now"`
	Rate  float64      `json:"rate"`
	Held  bool         `json:"held"`
}

type grant struct {
	Step uint64   `json:"step"`
	How  step.How `json:"how"`
}

// upcoming lists a lab's labelled timers as something that can be picked.
func upcoming(lab *step.Lab) []step.Pending {
	var list []step.Pending
	for _, t := range lab.Clock.Upcoming() {
		node := t.Action.Node
		if node == "" {
			node = lab.Node
		}
		list = append(list, step.Pending{
			Actor: t.Action.Actor, Node: node, Verb: t.Action.Verb, Class: step.ClassTimer,
			Object: t.Action.Object, Quiet: t.Action.Quiet, Due: step.Seconds(t.Due),
		})
	}
	return list
}

func same(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}
