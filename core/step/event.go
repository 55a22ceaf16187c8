package step

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// Seconds is a duration that reads as "1.384s" in JSON, with microseconds kept.
type Seconds time.Duration

// String is the form that JSON has.
func (s Seconds) String() string {
	us := time.Duration(s).Round(time.Microsecond).Microseconds() // Seconds() adds two floats, and shows it
	return strconv.FormatFloat(float64(us)/1e6, 'f', -1, 64) + "s"
}

// MarshalText implements encoding.TextMarshaler.
func (s Seconds) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler; the unit is required.
func (s *Seconds) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(strings.TrimSpace(string(text)))
	*s = Seconds(d)
	return err
}

// Phase says what an event is of its step.
type Phase string

const (
	PhasePending Phase = "pending" // held; nothing has happened yet
	PhaseBegin   Phase = "begin"
	PhaseEnd     Phase = "end"
	PhaseFact    Phase = "fact" // state seen rather than an action
)

// Event is one line of a recording.
type Event struct {
	Seq    uint64          `json:"seq"`            // position in the journal, from 1, without gaps
	Step   uint64          `json:"step,omitempty"` // the action; for a fact, the step in which it was seen
	Phase  Phase           `json:"phase"`
	At     Seconds         `json:"at"`   // lab clock, since the lab began
	Wall   int64           `json:"wall"` // real time, Unix microseconds
	Actor  string          `json:"actor,omitempty"`
	Node   string          `json:"node,omitempty"`
	Verb   Verb            `json:"verb"`
	Class  Class           `json:"class"`
	Object Object          `json:"object,omitzero"`
	Parent uint64          `json:"parent,omitempty"`
	Cause  []uint64        `json:"cause,omitempty"`
	RV     int64           `json:"rv,omitempty"` // commit: the revision made; deliver: the revision delivered
	Took   Seconds         `json:"took,omitempty"`
	Quiet  bool            `json:"quiet,omitempty"`
	How    string          `json:"how,omitempty"` // of an end: fail, drop, delay, crash, if somebody chose so
	Err    string          `json:"err,omitempty"`
	Detail json.RawMessage `json:"detail,omitempty"`

	// Revs travels from an agent to the journal, which turns it into causes.
	Revs []int64 `json:"revs,omitempty"`

	value any // the detail before it is encoded
}

// Lazy is a detail that is worked out when the event is first read, off the
// path of the action that it describes.
type Lazy func() any

// encode turns the detail into JSON. A detail that does not encode becomes a
// string that says so: a journal has no gaps.
func (e *Event) encode() {
	if e.value == nil {
		return
	}
	v := e.value
	if lazy, ok := v.(Lazy); ok {
		v = lazy()
	}
	e.value = nil
	if v == nil {
		return
	}
	raw, err := json.Marshal(v)
	if err != nil {
		raw, _ = json.Marshal(map[string]string{"error": err.Error()})
	}
	e.Detail = raw
}

// Decode reads the event's detail into v, a pointer to a type of detail.go.
func (e *Event) Decode(v any) error {
	if len(e.Detail) == 0 {
		return nil
	}
	return json.Unmarshal(e.Detail, v)
}

// Header is the first line of a recording.
type Header struct {
	Format  int             `json:"klab"` // of the recording: 1
	Version string          `json:"version"`
	Cluster string          `json:"cluster,omitempty"`
	Began   time.Time       `json:"began"`
	Seed    uint64          `json:"seed,omitempty"`
	Config  json.RawMessage `json:"config,omitempty"`
}

// Footer is the last line of a complete recording.
type Footer struct {
	End    bool   `json:"end"`
	Events uint64 `json:"events"`
}
