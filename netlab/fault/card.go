package fault

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Text is for people, in both languages of the lab.
type Text struct {
	EN string `json:"en"`
	ZH string `json:"zh"`
}

// On is what a card is played on.
type On string

// What cards are played on. Pods, Services and Deployments are named
// NAMESPACE/NAME, or NAME in the namespace default.
const (
	OnCluster    On = "cluster" // no target
	OnNode       On = "node"
	OnPod        On = "pod"
	OnLink       On = "node or pod" // the cable of either
	OnService    On = "service"
	OnDeployment On = "deployment"
	OnNamespace  On = "namespace"
)

// Arg is something that a card may be told, as NAME=VALUE.
type Arg struct {
	Name    string `json:"name"`
	Default string `json:"default,omitempty"` // empty: the card finds one
	Says    Text   `json:"says"`
	check   func(string) error
}

// Card is one way to break a lab.
type Card struct {
	Name  string `json:"name"`
	On    On     `json:"on"`
	Args  []Arg  `json:"args,omitempty"`
	Title Text   `json:"title"`
	// Does says in a sentence what it does, Sees what one sees of it, and Heals
	// what the cluster itself does about it.
	Does  Text `json:"does"`
	Sees  Text `json:"sees"`
	Heals Text `json:"heals"`

	// Hidden is set for a card that is not listed: it does not say what it breaks.
	Hidden bool `json:"hidden,omitempty"`

	plan func(Lab, ask) ([]Change, error)
}

// Ask is a card that is to be played.
type Ask struct {
	Card   string            `json:"card"`
	Target string            `json:"target,omitempty"`
	Args   map[string]string `json:"args,omitempty"`
}

// ask is an Ask whose target was found, and whose arguments are complete.
type ask struct {
	id     string
	node   Node   // that the target is, or is on
	target string // in full: "default/web"
	link   string // of a pod, on its node
	args   map[string]string
}

// ErrWrong is the error of an Ask that cannot be: a card, a target or an
// argument that is not there.
var ErrWrong = errors.New("cannot be broken")

func wrong(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrWrong, fmt.Sprintf(format, args...))
}

// Find returns the card of that name.
func Find(name string) (Card, error) {
	cards := Cards()
	names := make([]string, 0, len(cards))
	for _, c := range cards {
		if c.Name == name {
			return c, nil
		}
		names = append(names, c.Name)
	}
	for _, c := range cases() {
		if c.Name == name {
			return c, nil
		}
	}
	return Card{}, wrong("there is no card %q; the cards are %s", name, strings.Join(names, ", "))
}

// resolve finds what a card is to be played on, and completes its arguments.
func (c Card) resolve(lab Lab, want Ask) (ask, error) {
	a := ask{args: map[string]string{}}
	for name, value := range want.Args {
		i := slices.IndexFunc(c.Args, func(arg Arg) bool { return arg.Name == name })
		if i < 0 {
			return a, wrong("the card %s knows no argument %q; it has %s", c.Name, name, c.argNames())
		}
		if err := c.Args[i].check(value); err != nil {
			return a, wrong("%s=%s: %v", name, value, err)
		}
		a.args[name] = value
	}
	for _, arg := range c.Args {
		if _, ok := a.args[arg.Name]; !ok {
			a.args[arg.Name] = arg.Default
		}
	}
	err := c.target(lab, want.Target, &a)
	a.id = strings.TrimSuffix(c.Name+"-"+strings.ReplaceAll(a.target, "/", "-"), "-")
	return a, err
}

func (c Card) argNames() string {
	names := make([]string, 0, len(c.Args))
	for _, arg := range c.Args {
		names = append(names, arg.Name)
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func (c Card) target(lab Lab, target string, a *ask) (err error) {
	switch {
	case c.On == OnCluster && target == "":
		return nil
	case c.On == OnCluster:
		return wrong("the card %s is for the whole cluster and takes no target, not %q", c.Name, target)
	case target == "":
		return wrong("the card %s needs a %s: klab break %s NAME", c.Name, c.On, c.Name)
	}
	_, isNode := lab.node(target)
	switch {
	case c.On == OnNode || c.On == OnLink && isNode:
		a.target = target
		a.node, err = lab.nodeThatIsOn(target)
		return err
	case c.On == OnNamespace:
		a.target = target
		return nil
	}
	namespace, name, ok := strings.Cut(target, "/")
	if !ok {
		namespace, name = "default", target
	}
	a.target = namespace + "/" + name
	if c.On == OnPod || c.On == OnLink {
		a.node, a.target, a.link, err = lab.pod(a.target)
	}
	return err
}

func between(least, most int) func(string) error {
	return func(s string) error {
		if n, err := strconv.Atoi(s); err != nil || n < least || n > most {
			return fmt.Errorf("a number from %d to %d is wanted", least, most)
		}
		return nil
	}
}

func anything(s string) error {
	if s == "" || strings.ContainsAny(s, " \t\n;{}\"'\\") {
		return errors.New("a word is wanted")
	}
	return nil
}
