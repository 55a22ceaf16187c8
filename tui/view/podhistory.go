package view

import (
	"slices"
	"strconv"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
)

// Turn is a change in the life of a pod. What is "phase", a condition's type,
// or a container's name.
type Turn struct {
	At   step.Seconds `json:"at"`
	Seq  uint64       `json:"seq"`
	What string       `json:"what"`
	Kind string       `json:"kind"` // phase, node, condition, container, deletion
	From string       `json:"from,omitempty"`
	To   string       `json:"to,omitempty"`
}

// history lists what changed between the kept revisions, the oldest first.
func (p *PodPage) history(m Mask, o *fold.Object) {
	revs := o.Revisions()
	slices.Reverse(revs)
	var before, now []mark
	for i, r := range revs {
		if r.Type == "delete" {
			p.History = append(p.History, Turn{At: r.At, Seq: r.Seq, Kind: "deletion", What: "gone"})
			continue
		}
		now = marks(now[:0], m.Value("pods", r.Value, ""))
		for _, k := range now {
			if k.kind == "node" && p.Hides.Node {
				continue
			}
			was, known := markBefore(before, k)
			if known && was == k {
				continue
			}
			if i == 0 && r.Seq != o.Created {
				continue // how it was before that is forgotten
			}
			t := Turn{At: r.At, Seq: r.Seq, Kind: k.kind, What: k.what, To: k.text()}
			if known {
				t.From = was.text()
			}
			p.History = append(p.History, t)
		}
		before, now = now, before
	}
	p.Cut = len(revs) > 0 && revs[0].Seq != o.Created
}

func markBefore(list []mark, k mark) (mark, bool) {
	for _, b := range list {
		if b.kind == k.kind && b.what == k.what {
			return b, true
		}
	}
	return mark{}, false
}

// mark is something of a pod that makes its history.
type mark struct {
	kind, what, word, reason string
	code                     float64 // of a container that has ended
	ended                    bool
	count                    float64 // of restarts
}

func (k mark) text() string {
	s := k.word
	if k.reason != "" {
		s += " " + k.reason
	}
	if k.ended {
		s += " " + strconv.Itoa(int(k.code))
	}
	if k.count > 0 {
		s += " " + Times(int64(k.count))
	}
	return s
}

// marks adds the marks of a pod to list.
func marks(list []mark, value any) []mark {
	pod, _ := value.(map[string]any)
	status, spec, meta := child(pod, "status"), child(pod, "spec"), child(pod, "metadata")
	if phase := word(status, "phase"); phase != "" {
		list = append(list, mark{kind: "phase", what: "phase", word: phase})
	}
	if node := word(spec, "nodeName"); node != "" {
		list = append(list, mark{kind: "node", what: "node", word: node})
	}
	if meta["deletionTimestamp"] != nil {
		list = append(list, mark{kind: "deletion", what: "deletion", word: fold.Scalar(meta["deletionGracePeriodSeconds"]) + " s"})
	}
	conditions, _ := status["conditions"].([]any)
	for _, e := range conditions {
		c, _ := e.(map[string]any)
		list = append(list, mark{kind: "condition", what: word(c, "type"), word: word(c, "status"), reason: word(c, "reason")})
	}
	for _, name := range []string{"initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"} {
		statuses, _ := status[name].([]any)
		for _, e := range statuses {
			c, _ := e.(map[string]any)
			k := mark{kind: "container", what: word(c, "name")}
			k.word, _ = containerWord(c)
			k.code, k.ended = child(child(c, "state"), "terminated")["exitCode"].(float64)
			k.count, _ = c["restartCount"].(float64)
			list = append(list, k)
		}
	}
	return list
}

func child(m map[string]any, key string) map[string]any {
	c, _ := m[key].(map[string]any)
	return c
}

func word(m map[string]any, key string) string {
	s, _ := m[key].(string)
	return s
}
