package fold

import (
	"encoding/json"
	"slices"

	"github.com/klab-project/klab/core/step"
)

// Call is a call of the network interface for a pod: of its network, or within
// that of one plugin.
type Call struct {
	*Step
	Pod  Key
	Said json.RawMessage // the detail of its end
}

// callsKept is how many calls a State keeps at least.
const callsKept = 300

// call notes that a plugin, or a network, is called or has answered.
func (s *State) call(e *step.Event, st *Step) {
	if st == nil || st.Class != step.ClassCNI {
		return
	}
	i := len(s.Calls) - 1
	for i >= 0 && s.Calls[i].ID != st.ID {
		i--
	}
	switch {
	case i >= 0:
		s.Calls = slices.Clone(s.Calls)
		c := *s.Calls[i]
		c.Step, c.Said = st, e.Detail
		s.Calls[i] = &c
	case e.Phase == step.PhaseBegin:
		if pod, ok := podOf(&step.Event{Object: e.Object, Detail: st.Detail}); ok {
			s.Calls = keepLast(s.Calls, &Call{Step: st, Pod: pod}, callsKept)
		}
	}
}
