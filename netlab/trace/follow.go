package trace

import (
	"context"
	"slices"
)

// Follow sends a packet and returns its way, and the capture that it follows
// from. A packet that is lost or refused is no error.
func (t *Tracer) Follow(ctx context.Context, a Ask) (Way, *Capture, error) {
	c, err := t.Probe(ctx, a)
	if err != nil {
		return Way{}, nil, err
	}
	return t.understand(c), c, nil
}

// rounds is how often answers may lead to further questions.
const rounds = 8

// understand assembles a capture, asking what is to be asked.
func (t *Tracer) understand(c *Capture) Way {
	t.mu.Lock()
	names := t.names
	t.mu.Unlock()
	for range rounds {
		w, missing := Assemble(c, names)
		if len(missing) == 0 {
			return w
		}
		t.mu.Lock()
		for _, q := range missing {
			c.Answers = append(c.Answers, t.answer(q))
		}
		t.mu.Unlock()
	}
	w, _ := Assemble(c, names)
	return w
}

// Spaces are those that the tracer looks into.
func (t *Tracer) Spaces() (list []Space) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.spaces {
		list = append(list, s.Space)
	}
	slices.SortFunc(list, func(a, b Space) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return list
}
