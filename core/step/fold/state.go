package fold

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"

	"github.com/klab-project/klab/core/step"
)

// State is what is known after the event Seq.
type State struct {
	Seq  uint64
	At   step.Seconds // lab clock
	Wall int64        // real time, Unix microseconds
	RV   int64        // the newest revision of the store
	Mode step.Mode
	Rate float64 // of the lab clock
	Held bool    // whether the lab clock stands still

	Objects map[Key]*Object
	Gone    map[Key]*Object // deleted objects, as they last were; a bounded number
	Pending []*Pending      // held actions, the longest held first
	Timers  []step.Pending  // what time brings while the clock is held, the next one first
	Open    map[uint64]*Step
	Nodes   map[string]*Node
	Actors  map[ActorKey]*Actor
	Loops   map[LoopKey]*Loop // the last turn of each loop for each key

	Request   *Step     // the newest request that writes, running or done
	Commit    *Revision // the newest commit but of housekeeping, and of what
	Committed Key
	Ran       []Ran     // bounded, the newest last
	Errors    []Failure // bounded, the newest last
	Marks     []Mark
	Packets   []*Packet // the last ones that were followed, the newest last
	Faults    []Fault   // what is broken on purpose, the newest last
	Calls     []*Call   // of the network interface for pods; bounded, the newest last
	Runs      int       // how often the lab was reset
}

// Pending is a held action.
type Pending struct {
	ID   uint64 // to pick it by
	Seq  uint64 // of the event that said so
	At   step.Seconds
	Step *Step
}

// Step is an action that has begun, or is held, or is over.
type Step struct {
	ID     uint64
	Parent uint64
	Cause  []uint64
	Actor  string
	Node   string
	Verb   step.Verb
	Class  step.Class
	Object step.Object
	RV     int64 // of a delivery; of a request: what it committed
	Quiet  bool
	Seq    uint64 // first event
	At     step.Seconds
	Detail json.RawMessage // as its first event has it

	Begun   bool
	Ended   bool
	Took    step.Seconds
	Err     string
	How     string
	Request step.RequestDetail // of a request; Sub is its subresource
	Stages  []Stage            // of a request, those that are over
	AtStage step.Verb          // of a request: the stage that is held, if one is
}

// Stage is a finished stage of a request.
type Stage struct {
	Verb step.Verb
	Seq  uint64
	Note string
	Err  string
	Took step.Seconds
}

// Ran is a command line that really ran, or a request.
type Ran struct {
	Seq    uint64
	At     step.Seconds
	Actor  string
	Node   string
	Line   string
	Via    string
	Took   step.Seconds
	Exit   int // of a request: its status code
	Object step.Object
}

// Failure is an event that ended with an error.
type Failure struct {
	Seq    uint64
	Actor  string
	Node   string
	Verb   step.Verb
	Object step.Object
	Err    string
	How    string // fail, drop, crash, if somebody chose so
}

// Mark is a named place.
type Mark struct {
	Seq  uint64
	At   step.Seconds
	Name string
}

// How much a State keeps of what would grow without end.
const (
	ranKept    = 200
	errorsKept = 100
	goneKept   = 200
	openKept   = 8192
	loopsKept  = 512
)

// New returns the state before the first event.
func New() *State {
	s := &State{Rate: 1}
	s.forget()
	return s
}

// forget clears what belongs to one run of the lab.
func (s *State) forget() {
	s.Objects, s.Gone = map[Key]*Object{}, map[Key]*Object{}
	s.Open, s.Pending, s.Timers = map[uint64]*Step{}, nil, nil
	s.Nodes, s.Actors, s.Loops = map[string]*Node{}, map[ActorKey]*Actor{}, map[LoopKey]*Loop{}
	s.Request, s.Commit, s.Committed, s.RV = nil, nil, Key{}, 0
	s.Packets, s.Faults, s.Calls = nil, nil, nil
}

// Clone returns a state that can be applied to independently. It costs as much
// as there are objects and actors; what they hold is shared.
func (s *State) Clone() *State {
	c := *s
	c.Objects, c.Gone, c.Open = maps.Clone(s.Objects), maps.Clone(s.Gone), maps.Clone(s.Open)
	c.Nodes, c.Actors, c.Loops = maps.Clone(s.Nodes), maps.Clone(s.Actors), maps.Clone(s.Loops)
	c.Pending = slices.Clone(s.Pending)
	c.Ran, c.Errors, c.Marks, c.Calls = slices.Clip(s.Ran), slices.Clip(s.Errors), slices.Clip(s.Marks), slices.Clip(s.Calls)
	return &c
}

// Object returns the object with that name, or nil.
func (s *State) Object(resource, namespace, name string) *Object {
	return s.Objects[Key{resource, namespace, name}]
}

// List returns the objects of a resource by namespace and name; all of them
// for "".
func (s *State) List(resource string) []*Object {
	var list []*Object
	for k, o := range s.Objects {
		if resource == "" || k.Resource == resource {
			list = append(list, o)
		}
	}
	slices.SortFunc(list, func(a, b *Object) int {
		return cmp.Or(cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return list
}

// Waiting returns the held action with that id, or nil.
func (s *State) Waiting(id uint64) *Pending {
	for _, p := range s.Pending {
		if p.ID == id {
			return p
		}
	}
	return nil
}

// Busy tells whether anything is under way, but for watches and what is held.
func (s *State) Busy() bool {
	for _, st := range s.Open {
		if st.Begun && !st.Quiet && works(st) && s.heldIn(st.ID) == nil {
			return true
		}
	}
	return false
}

func (s *State) heldIn(id uint64) *Pending {
	for _, p := range s.Pending {
		if p.Step.ID == id || p.Step.Parent == id {
			return p
		}
	}
	return nil
}

// keepLast appends v and drops the oldest when there are twice as many as
// are to be kept. Former readers of list see no change.
func keepLast[T any](list []T, v T, kept int) []T {
	if len(list) >= 2*kept {
		list = append(make([]T, 0, 2*kept), list[len(list)-kept+1:]...)
	}
	return append(list, v)
}
