// Package keys is the table of what each key does. Help, hints and the command
// palette are made from it; a test keeps any key from having two meanings.
//
// There are only two nouns: an [Action] is something that the interface can
// do, a [Binding] says which keys ask for it. Each letter has a twin that is
// none, because an input method swallows letters.
package keys

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
// "key." + Action.
type Binding struct {
	Action Action
	Keys   []string // as bubbletea names them; the first is the one to show
	Group  string   // of the help: time, pick, look, lesson, other
}

// Table is all bindings in the order in which help lists them. Digits are not
// in it: they pick in the list of what waits, and choose views elsewhere.
func Table() []Binding {
	return []Binding{
		{Step, []string{"space", " "}, "time"},
		{Back, []string{"b", "left"}, "time"},
		{Forward, []string{"right"}, "time"},
		{Play, []string{"p", "f5"}, "time"},
		{Speed, []string{"s", "f6"}, "time"},
		{PrevMark, []string{"["}, "time"},
		{NextMark, []string{"]"}, "time"},
		{First, []string{"g", "home"}, "time"},
		{Last, []string{"G", "end"}, "time"},
		{Mark, []string{"m", "f7"}, "time"},

		{Enter, []string{"enter"}, "pick"},
		{Fail, []string{"f", "shift+f1"}, "pick"},
		{Drop, []string{"x", "delete"}, "pick"},
		{Delay, []string{"d", "shift+f2"}, "pick"},
		{Crash, []string{"k", "shift+f3"}, "pick"},

		{View, []string{"v", "f9"}, "look"},
		{ZoomIn, []string{"+", "="}, "look"},
		{ZoomOut, []string{"-"}, "look"},
		{Max, []string{"z", "f11"}, "look"},
		{Why, []string{"w", "f12"}, "look"},
		{Up, []string{"up"}, "look"},
		{Down, []string{"down"}, "look"},
		{PageUp, []string{"pgup"}, "look"},
		{PageDown, []string{"pgdown"}, "look"},
		{Focus, []string{"tab"}, "look"},
		{Unfocus, []string{"shift+tab"}, "look"},
		{Filter, []string{"/"}, "look"},

		{Next, []string{"n", "f4"}, "lesson"},
		{Prev, []string{"N", "shift+f4"}, "lesson"},
		{Hint, []string{"h", "f1"}, "lesson"},
		{Check, []string{"c", "f3"}, "lesson"},
		{Reset, []string{"r", "shift+f8"}, "lesson"},
		{Teach, []string{"f2"}, "lesson"},

		{Palette, []string{":"}, "other"},
		{Shell, []string{"!"}, "other"},
		{Copy, []string{"y", "f8"}, "other"},
		{Language, []string{"L", "f10"}, "other"},
		{Help, []string{"?"}, "other"},
		{Close, []string{"esc"}, "other"},
		{Quit, []string{"q", "ctrl+c", "ctrl+q"}, "other"},
	}
}

// Groups are the groups of the help in their order.
func Groups() []string { return []string{"time", "pick", "look", "lesson", "other"} }

// Map finds actions by key.
func Map() map[string]Action {
	m := map[string]Action{}
	for _, b := range Table() {
		for _, k := range b.Keys {
			m[k] = b.Action
		}
	}
	return m
}

// Show is the key to show for an action.
func Show(a Action) string {
	for _, b := range Table() {
		if b.Action == a {
			return b.Keys[0]
		}
	}
	return ""
}
