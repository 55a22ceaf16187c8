package fold

import (
	"encoding/json"
	"strconv"

	"github.com/klab-project/klab/core/step"
)

// commit notes a new revision of an object.
func (s *State) commit(e *step.Event) {
	var d step.CommitDetail
	if e.Decode(&d) != nil {
		return
	}
	key := KeyOf(e.Object)
	old := s.Objects[key]
	r := &Revision{RV: max(e.RV, d.RV), Seq: e.Seq, Step: e.Step, At: e.At, Type: d.Type}
	switch {
	case d.Type == "delete":
		if old != nil {
			r.Value = old.Value
		}
	default:
		var patch any
		if len(d.Patch) > 0 && json.Unmarshal(d.Patch, &patch) != nil {
			return
		}
		var before any
		if old != nil && d.Type != "create" && e.Verb == step.Commit {
			before = old.Value
		}
		r.Value, _ = Merge(before, patch).(map[string]any)
	}
	if r.RV == 0 {
		r.RV, _ = strconv.ParseInt(Scalar(Lookup(r.Value, "metadata.resourceVersion")), 10, 64)
	}
	s.RV = max(s.RV, r.RV)
	if e.Verb == step.Snapshot {
		r.Type = "snapshot"
	} else if !Housekeeping(key.Resource) {
		s.Commit, s.Committed = r, key
	}
	s.keep(key, old, r)
	s.committedBy(e, r.RV)
}

func (s *State) keep(key Key, old *Object, r *Revision) {
	o := old.revise(key, r)
	if r.Type != "delete" {
		s.Objects[key] = o
		return
	}
	delete(s.Objects, key)
	s.Gone[key] = o
	for len(s.Gone) > goneKept {
		oldest := key
		for k, g := range s.Gone {
			if g.Last.Seq < s.Gone[oldest].Last.Seq {
				oldest = k
			}
		}
		delete(s.Gone, oldest)
	}
}

// committedBy tells the request what revision it made.
func (s *State) committedBy(e *step.Event, rv int64) {
	for id, n := e.Step, 0; id != 0 && n < 4; n++ {
		st := s.Open[id]
		if st == nil {
			return
		}
		if st.Class == step.ClassRequest {
			s.replace(st, func(c *Step) { c.RV = rv })
			return
		}
		id = st.Parent
	}
}
