// Package keys is the table of what each key does. Help, hints and the command
// palette are made from it; a test keeps any key from having two meanings.
//
// There are only two nouns: an [Action] is something that the interface can
// do, a [Binding] says which keys ask for it; [Find] goes from a key to its
// action. Each letter has a twin that is none, because an input method
// swallows letters.
package keys

import (
	"fmt"
	"strings"

	"charm.land/bubbles/v2/key"
)

// Action is something that can be asked for with a key or by its name in the
// command palette.
type Action string

const (
	Step     Action = "step"
	Back     Action = "back"
	Forward  Action = "forward"
	Play     Action = "play"
	Speed    Action = "speed"
	PrevMark Action = "prevmark"
	NextMark Action = "nextmark"
	First    Action = "first"
	Last     Action = "last"
	Mark     Action = "mark"

	Fail  Action = "fail"
	Drop  Action = "drop"
	Delay Action = "delay"
	Crash Action = "crash"

	View     Action = "view"
	ZoomIn   Action = "zoomin"
	ZoomOut  Action = "zoomout"
	Max      Action = "max"
	Why      Action = "why"
	Up       Action = "up"
	Down     Action = "down"
	PageUp   Action = "pageup"
	PageDown Action = "pagedown"
	Enter    Action = "enter"
	Focus    Action = "focus"
	Unfocus  Action = "unfocus"
	Filter   Action = "filter"

	Send  Action = "send"
	Break Action = "break"
	Rules Action = "rules"

	Hint  Action = "hint"
	Check Action = "check"
	Reset Action = "reset"
	Next  Action = "next"
	Prev  Action = "prev"
	Teach Action = "teach"

	Palette  Action = "palette"
	Shell    Action = "shell"
	Copy     Action = "copy"
	Language Action = "language"
	Help     Action = "help"
	Close    Action = "close"
	Quit     Action = "quit"
)

// Binding says which keys ask for an action. The text for help has the key
// "key." + Action; the binding's own Help has the keys as they are labelled.
type Binding struct {
	key.Binding
	Action Action
	Group  string // of the help: time, pick, look, lesson, other
}

func bind(a Action, group string, names ...string) Binding {
	return Binding{key.NewBinding(key.WithKeys(names...), key.WithHelp(labels(names), string(a))), a, group}
}

// Table is all bindings in the order in which help lists them. Digits are not
// in it: they pick in the list of what waits, and choose views elsewhere.
func Table() []Binding {
	return []Binding{
		bind(Step, "time", "space"),
		bind(Back, "time", "b", "left"),
		bind(Forward, "time", "right"),
		bind(Play, "time", "p", "f5"),
		bind(Speed, "time", "s", "f6"),
		bind(PrevMark, "time", "["),
		bind(NextMark, "time", "]"),
		bind(First, "time", "g", "home"),
		bind(Last, "time", "G", "end"),
		bind(Mark, "time", "m", "f7"),

		bind(Enter, "pick", "enter"),
		bind(Fail, "pick", "f", "shift+f1"),
		bind(Drop, "pick", "x", "delete"),
		bind(Delay, "pick", "d", "shift+f2"),
		bind(Crash, "pick", "k", "shift+f3"),

		bind(View, "look", "v", "f9"),
		bind(ZoomIn, "look", "+", "="),
		bind(ZoomOut, "look", "-"),
		bind(Max, "look", "z", "f11"),
		bind(Why, "look", "w", "f12"),
		bind(Up, "look", "up"),
		bind(Down, "look", "down"),
		bind(PageUp, "look", "pgup"),
		bind(PageDown, "look", "pgdown"),
		bind(Focus, "look", "tab"),
		bind(Unfocus, "look", "shift+tab"),
		bind(Filter, "look", "/"),
		bind(Rules, "look", "o", "shift+f9"),

		bind(Next, "lesson", "n", "f4"),
		bind(Prev, "lesson", "N", "shift+f4"),
		bind(Hint, "lesson", "h", "f1"),
		bind(Check, "lesson", "c", "f3"),
		bind(Reset, "lesson", "r", "shift+f8"),
		bind(Teach, "lesson", "f2"),

		bind(Palette, "other", ":"),
		bind(Send, "other", "t", "shift+f7"),
		bind(Break, "other", "B", "shift+f6"),
		bind(Shell, "other", "!"),
		bind(Copy, "other", "y", "f8"),
		bind(Language, "other", "L", "f10"),
		bind(Help, "other", "?"),
		bind(Close, "other", "esc"),
		bind(Quit, "other", "q", "ctrl+c", "ctrl+q"),
	}
}

// Groups are the groups of the help in their order.
func Groups() []string { return []string{"time", "pick", "look", "lesson", "other"} }

// Find returns the action that a key asks for.
func Find[K fmt.Stringer](table []Binding, k K) (Action, bool) {
	for _, b := range table {
		if key.Matches(k, b.Binding) {
			return b.Action, true
		}
	}
	return "", false
}

// Show is the key to show for an action.
func Show(table []Binding, a Action) string {
	for _, b := range table {
		if b.Action == a {
			return b.Keys()[0]
		}
	}
	return ""
}

var labelled = map[string]string{
	"left": "←", "right": "→", "up": "↑", "down": "↓", "pgup": "PgUp", "pgdown": "PgDn", "delete": "Del",
	"home": "Home", "end": "End", "enter": "Enter", "esc": "Esc", "tab": "Tab",
}

// labels words keys as they are labelled.
func labels(names []string) string {
	out := make([]string, len(names))
	for i, k := range names {
		if l, ok := labelled[k]; ok {
			k = l
		}
		if len(k) > 1 && k[0] == 'f' && k[1] >= '0' && k[1] <= '9' {
			k = "F" + k[1:]
		}
		out[i] = strings.Replace(k, "shift+f", "shift+F", 1)
	}
	return strings.Join(out, " ")
}

// Label is the first of the binding's keys as it is labelled.
func (b Binding) Label() string { return labels(b.Keys()[:1]) }
