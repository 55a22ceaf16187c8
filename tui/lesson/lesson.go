// Package lesson says what the terminal interface needs to know of a lesson.
//
// A [Lesson] is walked through by its learner; its [View] is what is to be
// seen of it at one moment, in one language. Whoever runs lessons implements
// Lesson; the interface only draws Views and passes on what was pressed. The
// package imports only core/step's fold, so that neither side needs the other.
package lesson

import (
	"context"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
)

// Lesson is a lesson that somebody is taking. Its methods may be called from
// several goroutines; only Act may take long.
type Lesson interface {
	// Follow tells of new events; state is the one after the last of them and
	// must be neither changed nor kept. It returns how many of them it took: a
	// recording stops at the one with which a step is over.
	Follow(state *fold.State, events []*step.Event) int
	// View is what to show now. lang is "en" or "zh".
	View(lang string) View
	// Answer locks the answer to the open prediction: a choice from 0, and how
	// sure the learner is, 1 (guess) to 3 (certain). A choice of -1 skips it.
	Answer(choice, sure int) error
	// Act does what the learner asks for.
	Act(ctx context.Context, act Act) error
}

// Act is something that a learner asks a lesson for.
type Act string

const (
	Do     Act = "do"     // carry out the step's command
	Next   Act = "next"   // go on to the next step
	Prev   Act = "prev"   // look at the step before
	Hint   Act = "hint"   // the next hint
	Check  Act = "check"  // look whether the goals are reached
	Reset  Act = "reset"  // put the lab back to the beginning of this step
	Reveal Act = "reveal" // show hidden answers (teaching)
)

// View is a lesson at one moment.
type View struct {
	Title  string // "A Deployment thinks"
	Number string // "01"
	Step   int    // from 1
	Steps  int
	Name   string // of the step
	Blocks []Block

	Prompt *Prompt  // a prediction, if the step has one
	Do     *Command // what there is to do, if anything
	Checks []Goal
	Hints  []string // those taken so far
	Left   int      // hints not taken yet

	CanNext bool   // whether Next would go on
	Waiting string // what the step still waits for, in words; "" if nothing
	Done    bool   // the lesson is finished
	Result  string // of a lesson that is graded, in its last step: points, in words

	// Hide lists what must not be seen now, because it would give an open
	// prediction away. Entries are:
	//
	//	pane/NAME            a whole pane: stage, pending, inspector, timeline, ran, why,
	//	                     reconcile, network, packet, objects, log
	//	actor/NAME           what an actor does: its state, its held actions, its lines
	//	verb/NAME            actions with that verb
	//	field/RESOURCE/PATH  a field of objects: field/pods/spec.nodeName
	//	hop/FIELD=PATTERN    of each packet's way, the first hop whose field fits and all after it:
	//	                     hop/verdict=dnat, hop/chain=KUBE-SVC-*, hop/hdr.dst=10.1.*; hop/3 is
	//	                     the third one, hop/* all
	Hide []string
	// Show names a pane that this step is about; "" leaves the learner's choice.
	Show string
}

// Block is a piece of a step's text.
type Block struct {
	Kind Kind
	Text string // one paragraph; of code, lines
}

// Kind says how a block is to be set.
type Kind string

const (
	Para    Kind = ""
	Heading Kind = "heading"
	Item    Kind = "item"
	Code    Kind = "code"
	Note    Kind = "note" // worth remembering
)

// Prompt is a prediction.
type Prompt struct {
	Question string
	Quiz     bool // it asks about what happened already, so nothing is to be watched for
	Choices  []string
	Locked   bool
	Choice   int    // once locked, or -1 if skipped
	Sure     int    // once locked
	Answer   int    // what really happened, -1 while it is not known
	Seen     string // what really happened, in words
	Why      string // after the step
}

// Open tells whether the prompt waits for an answer.
func (p *Prompt) Open() bool { return p != nil && !p.Locked }

// Command is something to run.
type Command struct {
	Line   string // "kubectl apply -f web.yaml"
	Output string // what it printed: lines
	Before string // what the command before it printed, until it has printed something itself
	Done   bool
	Busy   bool
}

// Goal is something that a check looks for.
type Goal struct {
	Text   string
	Done   bool
	NotYet string // what is still missing, never how to get it
}
