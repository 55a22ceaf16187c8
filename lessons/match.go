package lessons

import (
	"encoding/json"
	"path"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
)

// Match names events; empty fields match everything. Actor, Node and Object
// are patterns as in path.Match.
type Match struct {
	Actor  string     `yaml:"actor"`
	Node   string     `yaml:"node"`
	Verb   step.Verb  `yaml:"verb"`
	Class  step.Class `yaml:"class"`
	Object string     `yaml:"object"` // resource/namespace/name
	Phase  step.Phase `yaml:"phase"`
	Quiet  *bool      `yaml:"quiet"`
	Count  int        `yaml:"count"` // how many are needed; 0 is 1

	// Detail has patterns for values of the event's detail by their paths, as
	// in "exitCode", and ">3" and "<3" compare; Is has them for the event's object, as it is then.
	Detail map[string]string `yaml:"detail"`
	Is     map[string]string `yaml:"is"`
	// Hop has patterns for a place on a packet's way. It means verb hop, phase fact.
	Hop *HopMatch `yaml:"hop"`
	// Packet names a packet's end by its ends and its outcome. It means verb packet, phase end.
	Packet *PacketMatch `yaml:"packet"`
	// Members is a pattern for who shares a namespace, in a pod-seen event.
	Members *Members `yaml:"members"`
}

// Members is who is in the namespace of a kind that a container is in, as
// "node pause a b".
type Members struct {
	Container string `yaml:"container"` // "" is the pause container
	Kind      string `yaml:"kind"`
	Are       string `yaml:"are"` // a pattern
}

// Matches tells whether m names e, apart from what Is says. What failed
// matches only without a phase.
func (m *Match) Matches(e *step.Event) bool {
	return (m.Verb == "" || m.Verb == e.Verb) && (m.Class == "" || m.Class == e.Class) &&
		(m.Phase == "" || m.Phase == e.Phase && e.Err == "") && (m.Quiet == nil || *m.Quiet == e.Quiet) &&
		like(m.Actor, e.Actor) && like(m.Node, e.Node) && like(m.Object, e.Object.String()) && m.details(e)
}

func (m *Match) details(e *step.Event) bool {
	for path, pattern := range m.Detail {
		if !fits(pattern, detail(e, path)) {
			return false
		}
	}
	if m.Hop != nil && !m.Hop.matches(e) || m.Packet != nil && !m.Packet.matches(e) {
		return false
	}
	return m.Members == nil || like(m.Members.Are, members(e, m.Members.Container, m.Members.Kind))
}

// detail is a value of an event's detail as text, "" if it has none there.
func detail(e *step.Event, path string) string {
	var v any
	if len(e.Detail) == 0 || json.Unmarshal(e.Detail, &v) != nil {
		return ""
	}
	return fold.Scalar(fold.Lookup(v, path))
}

// matches is Match.Matches with what Is says about the object.
func (o *observer) matches(m *Match, e *step.Event) bool {
	if !m.Matches(e) {
		return false
	}
	for path, pattern := range m.Is {
		if !fits(pattern, o.field(e, path)) {
			return false
		}
	}
	return true
}

// field is a field of an event's object as text, "" if there is none.
func (o *observer) field(e *step.Event, path string) string {
	if obj := o.state.Objects[fold.KeyOf(e.Object)]; obj != nil {
		return obj.Text(path)
	}
	return ""
}

func like(pattern, s string) bool {
	if pattern == "" {
		return true
	}
	ok, err := path.Match(pattern, s)
	return ok && err == nil
}

// complete adds what hop and packet mean besides.
func (m *Match) complete() {
	switch {
	case m == nil:
	case m.Hop != nil:
		m.Verb, m.Phase = step.HopSeen, step.PhaseFact
	case m.Packet != nil:
		m.Verb, m.Phase = step.Packet, step.PhaseEnd
	}
}

func (m *Match) needed() int { return max(1, m.Count) }
