package trace

import (
	"fmt"
	"slices"
)

// trace has the kernel tell of rules in a space. A pod has none of its own as a
// rule, and then nothing is put into it.
func (t *Tracer) trace(s *space) error {
	if s.Pod != "" {
		return t.retrace(s)
	}
	s.traced = true
	return s.mark(t.ports(), t.armed.wide)
}

// retrace is trace for a space whose rules may be others than they were: those
// of a pod's sidecar come when it starts.
func (t *Tracer) retrace(s *space) error {
	legacy := s.legacyFamilies()
	changed := !slices.Equal(legacy, s.anchored)
	if s.Pod == "" {
		if !changed {
			return nil
		}
		return s.mark(t.ports(), t.armed.wide)
	}
	gen, err := s.gen()
	if err != nil {
		return fmt.Errorf("rules of %s: %w", s.Name, err)
	}
	if gen == s.tracedGen && !changed {
		return nil
	}
	r := &Ruleset{}
	if err := s.chains(r); err != nil {
		return fmt.Errorf("rules of %s: %w", s.Name, err)
	}
	has := slices.ContainsFunc(r.Chains, func(c Chain) bool { return c.Hook != "" && c.Family != "netdev" && c.Table != tableName })
	has = has || len(legacy) > 0
	switch {
	case has && (!s.traced || changed):
		err = s.mark(t.ports(), t.armed.wide)
	case !has && s.traced:
		err = s.unmark()
	}
	if err != nil {
		return err
	}
	s.traced = has
	s.tracedGen, err = s.gen()
	return err
}

// retraceAll is retrace for all spaces.
func (t *Tracer) retraceAll() error {
	for _, s := range t.spaces {
		if err := t.retrace(s); err != nil {
			return err
		}
	}
	return nil
}
