package lessons

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/klab-project/klab/core/step"
)

// choice is the choice that an observation means, "" if none.
func (p *Predict) choice(by string) string {
	if key, ok := p.Answer.Map[by]; ok {
		return key
	}
	for _, pattern := range slices.Sorted(maps.Keys(p.Answer.Map)) {
		if like(pattern, by) && pattern != "" {
			return p.Answer.Map[pattern]
		}
	}
	return p.Answer.Else
}

// by is what the event says for the prediction.
func (o *observer) by(p *Predict, e *step.Event) string {
	switch p.Answer.By {
	case "actor":
		return e.Actor
	case "verb":
		return string(e.Verb)
	case "node":
		return e.Node
	case "resource":
		return e.Object.Resource
	case "name":
		return e.Object.Name
	case "detail":
		return p.Answer.find(detail(e, p.Answer.Path))
	case "field":
		return p.Answer.find(o.field(e, p.Answer.Path))
	case "others-pending":
		return strconv.Itoa(o.alike(e))
	case "distinct-bound-nodes":
		return strconv.Itoa(o.boundNodes())
	case "output":
		return p.Answer.find(detail(e, "text"))
	case "members":
		return members(e, p.Answer.Container, p.Answer.Kind)
	case "count":
		for _, t := range o.tallies {
			if t.match == p.Answer.Of {
				return strconv.Itoa(t.n)
			}
		}
	}
	return ""
}

// alike is how many actions of e's kind, by its actor, wait.
func (o *observer) alike(e *step.Event) (n int) {
	for _, p := range o.state.Pending {
		if st := p.Step; st.ID != e.Step && st.Actor == e.Actor && st.Verb == e.Verb && st.Object.Resource == e.Object.Resource {
			n++
		}
	}
	return n
}

// boundNodes is how many nodes have a pod of the lesson's.
func (o *observer) boundNodes() int {
	nodes := map[string]bool{}
	for k, obj := range o.state.Objects {
		if n := obj.Text("spec.nodeName"); k.Resource == "pods" && k.Namespace == "default" && n != "" {
			nodes[n] = true
		}
	}
	return len(nodes)
}

// cases counts the events of a prediction that has one for each choice.
func (o *observer) cases(p *Predict, w *seen, after *command) {
	for _, k := range p.Keys {
		m := p.Cases[k]
		o.count(&m, w, after, func(e *step.Event) {
			if w.event == nil {
				w.by, w.answer, w.event = o.fields(&m, e), k, e
			}
		})
	}
}

// fields is what an event's object has where m looks, in words.
func (o *observer) fields(m *Match, e *step.Event) string {
	var list []string
	for _, path := range slices.Sorted(maps.Keys(m.Is)) {
		list = append(list, path[strings.LastIndexAny(path, ".]")+1:]+" = "+o.field(e, path))
	}
	return strings.Join(list, ", ")
}
