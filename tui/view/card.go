package view

import (
	"cmp"
	"slices"
	"strings"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
)

// Words is a text for people, in both languages of the interface.
type Words struct{ EN, ZH string }

// Card is one way to break the lab, as "klab break" has it.
type Card struct {
	Name  string
	On    string // what it is played on: "cluster", "node", "node or pod", …
	Args  []CardArg
	Title Words
	Does  Words // what it does
	Sees  Words // what one sees of it
	Heals Words // what the cluster itself does about it
}

// CardArg is something that a card may be told as NAME=VALUE.
type CardArg struct {
	Name    string
	Default string // empty: the card finds one
	Says    Words
}

// Cards is the page of cards: what is broken now first, then all cards.
type Cards struct {
	Rows   []CardRow
	Hidden bool // what is broken must not be seen now
}

// CardRow is something to choose: a fault, which is mended; all faults; a card,
// which is played.
type CardRow struct {
	Fault *fold.Fault
	All   int // how many faults there are: this row mends them all
	Card  Card
}

// NewCards lists what is broken, the newest first, and the cards.
func NewCards(s *fold.State, m Mask, cards []Card) *Cards {
	v := &Cards{Hidden: m.Step("", step.Break)}
	if !v.Hidden {
		for _, f := range slices.Backward(s.Faults) {
			c := Card{Name: f.Card}
			if i := slices.IndexFunc(cards, func(c Card) bool { return c.Name == f.Card }); i >= 0 {
				c = cards[i]
			}
			v.Rows = append(v.Rows, CardRow{Fault: &f, Card: c})
		}
		if n := len(v.Rows); n > 1 {
			v.Rows = append(v.Rows, CardRow{All: n})
		}
	}
	for _, c := range cards {
		v.Rows = append(v.Rows, CardRow{Card: c})
	}
	return v
}

// Line is the command that the row stands for, without its target.
func (r CardRow) Line() string {
	switch {
	case r.Fault != nil:
		return "mend " + r.Fault.ID
	case r.All > 0:
		return "mend --all"
	}
	return "break " + r.Card.Name
}

// Aims tells whether the card needs a target.
func (c Card) Aims() bool { return c.On != "" && c.On != "cluster" }

// Told is what a card is told besides its target, with what it assumes.
func (c Card) Told() string {
	var list []string
	for _, a := range c.Args {
		if a.Default != "" {
			list = append(list, a.Name+"="+a.Default)
		}
	}
	return strings.Join(list, " ")
}

// Target is something that a card can be played on.
type Target struct {
	Kind   string // resource
	Name   string // as "klab break" takes it
	Where  string // of a pod: its node
	Broken bool   // this card was played on it
}

// Targets lists what of the cluster a card can be played on.
func Targets(s *fold.State, m Mask, c Card) []Target {
	var list []Target
	for _, kind := range []string{"node", "pod", "service", "deployment", "namespace"} {
		if !strings.Contains(c.On, kind) {
			continue
		}
		for _, o := range s.List(kind + "s") {
			t := Target{Kind: kind + "s", Name: o.Name}
			if o.Namespace != "" {
				t.Name = o.Namespace + "/" + o.Name
			}
			if kind == "pod" {
				if o.Text("status.phase") == "Succeeded" || o.Text("status.phase") == "Failed" || o.Text("spec.hostNetwork") == "true" {
					continue // it has no network of its own
				}
				if !m.Field("pods", "spec.nodeName") {
					t.Where = o.Text("spec.nodeName")
				}
			}
			t.Broken = !m.Step("", step.Break) && slices.ContainsFunc(s.Faults, func(f fold.Fault) bool {
				return f.Card == c.Name && cmp.Or(f.Target, f.Node) == t.Name
			})
			list = append(list, t)
		}
	}
	slices.SortStableFunc(list, func(a, b Target) int {
		return cmp.Or(foreign(a)-foreign(b), strings.Compare(a.Name, b.Name))
	})
	return list
}

// foreign sorts what a learner did not make to the end.
func foreign(t Target) int {
	namespace, _, ok := strings.Cut(t.Name, "/")
	switch {
	case t.Kind == "nodes":
		return 0
	case !ok || namespace == "default":
		return 1
	}
	return 2
}
