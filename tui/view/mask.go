package view

import (
	"strings"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
)

// Mask is what must not be seen, in the words of lesson.View.Hide. The zero
// value hides nothing.
type Mask struct {
	panes, actors, verbs map[string]bool
	fields               []field
	hops                 []hopMask
}

type field struct{ resource, path string }

// NewMask reads entries such as "actor/kube-scheduler". What it does not
// understand hides nothing.
func NewMask(hide []string) Mask {
	m := Mask{panes: map[string]bool{}, actors: map[string]bool{}, verbs: map[string]bool{}}
	for _, h := range hide {
		what, rest, _ := strings.Cut(h, "/")
		switch what {
		case "pane":
			m.panes[rest] = true
		case "actor":
			m.actors[rest] = true
		case "verb":
			m.verbs[rest] = true
		case "field":
			resource, path, _ := strings.Cut(rest, "/")
			m.fields = append(m.fields, field{resource, path})
		case "hop":
			m.hops = append(m.hops, newHopMask(rest))
		}
	}
	return m
}

// Empty tells whether everything may be seen.
func (m Mask) Empty() bool {
	return len(m.panes)+len(m.actors)+len(m.verbs)+len(m.fields)+len(m.hops) == 0
}

// Pane tells whether a whole pane is hidden.
func (m Mask) Pane(name string) bool { return m.panes[name] }

// Actor tells whether what an actor does is hidden.
func (m Mask) Actor(name string) bool { return m.actors[name] }

// Step tells whether an action is hidden.
func (m Mask) Step(actor string, verb step.Verb) bool {
	return m.actors[actor] || m.verbs[string(verb)] || verb == step.HopSeen && len(m.hops) > 0
}

// On is Step for what happens on a node: while the node of a pod is hidden,
// everything that nodes do about pods is.
func (m Mask) On(actor, node string, verb step.Verb, resource string) bool {
	return m.Step(actor, verb) || node != "" && resource != "nodes" && m.Field("pods", "spec.nodeName")
}

// Event tells whether an event is hidden: by its actor, its verb, its node, or
// because it carries a hidden field.
func (m Mask) Event(e *step.Event) bool {
	if e.Verb == step.Packet && e.Phase == step.PhaseEnd && (len(m.hops) > 0 || m.verbs[string(step.HopSeen)]) {
		return true // it says how the packet came out
	}
	return m.On(e.Actor, e.Node, e.Verb, e.Object.Resource) || e.Verb == step.Commit && m.touches(e.Object.Resource)
}

// Field tells whether a field of an object, or something around it, is hidden.
func (m Mask) Field(resource, path string) bool {
	for _, f := range m.fields {
		if f.resource == resource && (path == f.path || strings.HasPrefix(path, f.path+".") || strings.HasPrefix(path, f.path+"[")) {
			return true
		}
	}
	return false
}

func (m Mask) touches(resource string) bool {
	for _, f := range m.fields {
		if f.resource == resource {
			return true
		}
	}
	return false
}

// Cause tells whether a link of a chain of causes is hidden.
func (m Mask) Cause(c fold.Cause) bool {
	return m.On(c.Actor, c.Node, c.Verb, c.Object.Resource)
}

// Value is an object without its hidden fields.
func (m Mask) Value(resource string, v any, path string) any {
	if !m.touches(resource) {
		return v
	}
	if path != "" && m.Field(resource, path) {
		return hidden
	}
	switch t := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(t))
		for k, e := range t {
			p := k
			if path != "" {
				p = path + "." + k
			}
			out[k] = m.Value(resource, e, p)
		}
		return out
	case []any:
		out := make([]any, len(t))
		for i, e := range t {
			out[i] = m.Value(resource, e, path)
		}
		return out
	}
	return v
}

// hidden stands where a hidden value would be; panes word it.
const hidden = "\x00hidden"

// IsHidden tells whether a text stands for something hidden.
func IsHidden(s string) bool { return s == hidden }
