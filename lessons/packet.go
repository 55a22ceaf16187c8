package lessons

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/klab-project/klab/core/step"
)

// probed is what was found for one packet of a check, since the lab last
// changed in a way that may matter.
type probed struct{ known, fits bool }

// packets takes a packet's end into account for the checks that are about it.
func (o *observer) packets(e *step.Event) {
	if disturbs(e) {
		for _, w := range o.steps {
			clear(w.probes)
		}
	}
	if e.Verb != step.Packet || e.Phase != step.PhaseEnd || e.Err != "" {
		return
	}
	var d step.PacketDetail
	if e.Decode(&d) != nil || d.Watched {
		return
	}
	for i, s := range o.lesson.Steps {
		w := o.steps[i]
		if !w.entered || w.did < len(s.Do) {
			continue
		}
		for k := range s.Checks {
			if !w.checks[k] && len(s.Checks[k].Packet) > 0 {
				w.checks[k] = o.found(w, &s.Checks[k], &d)
			}
		}
	}
}

// found notes a packet for a check; it returns whether all of the check's
// packets have now come out as they should.
func (o *observer) found(w *seen, c *Check, d *step.PacketDetail) bool {
	all := true
	for i := range c.Packet {
		m := o.named(&c.Packet[i])
		key := &c.Packet[i]
		if m.about(d) {
			w.probes[key] = probed{true, m.fits(d)}
		}
		all = all && w.probes[key].fits
	}
	return all
}

// named is m with its ${first ...} names filled in.
func (o *observer) named(m *PacketMatch) *PacketMatch {
	c := *m
	ends := o.args([]string{m.From, m.To})
	c.From, c.To = ends[0], ends[1]
	return &c
}

// words splits a line of packet, break or mend into arguments.
func (o *observer) split(line string) []string { return strings.Fields(o.args([]string{line})[0]) }

// klab is the arguments of klab that carry out packet, break or mend; nil for
// other entries.
func (d *Do) klab(o *observer) []string {
	switch {
	case d.Packet != "":
		args := o.split(d.Packet)
		if len(args) == 3 {
			args = append(args[:2:2], "--proto", args[2])
		}
		return append([]string{"packet"}, args...)
	case d.Break != "":
		return append([]string{"break"}, o.split(d.Break)...)
	case d.Mend != "":
		return append([]string{"mend"}, o.split(d.Mend)...)
	}
	return nil
}

// sends is what an entry that brings about a step of its own is known by, and
// whether it is carried out only when that step is over.
func (d *Do) sends() (m *Match, over bool) {
	switch {
	case d.Held != nil:
		return d.Held, false
	case d.Packet != "":
		return &Match{Verb: step.Packet}, true
	case d.Break != "":
		return &Match{Verb: step.Break}, true
	case d.Mend != "":
		return &Match{Verb: step.Mend}, true
	}
	return nil, false
}

// latePatience is how long the events of a command may come after it has ended.
const latePatience = 5 * time.Second

// perform runs klab for packet, break or mend. A packet that is lost is no
// failure: what counts is that its way is known. Nor is a mend that finds nothing
// to do, as the learner was quicker: that is noted, as nothing else tells of it.
func (s *Session) perform(ctx context.Context, i, k int, done func() bool) error {
	s.mu.Lock()
	d := &s.lesson.Steps[i].Do[k]
	args := d.klab(s.see)
	s.mu.Unlock()
	return s.send(ctx, done, func(ctx context.Context) (string, error) {
		out, err := s.host.Klab(ctx, args...)
		mended := d.Mend != "" && (err == nil || strings.Contains(out, notBroken))
		switch {
		case err == nil && !mended:
		case s.until(ctx, latePatience, done) == nil:
			err = nil
		case mended:
			err = s.host.Note(ctx, outputMark(s.lesson, s.lesson.Steps[i], k), out)
		}
		return out, err
	})
}

// notBroken is what "klab mend" says of what it need not mend.
const notBroken = "is not broken"

// probeMark is before the packets of a check in the lab's events: what was
// found before it counts no longer.
func probeMark(l *Lesson, s *Step) string { return stepMark(l, s) + " probes" }

// probe sends the packets that the step's checks are about, one after the other,
// while one of its goals is open: another check may look for what they do on
// their way. What becomes of them is seen among the lab's events.
func (s *Session) probe(ctx context.Context, i int) error {
	if s.host == nil {
		return nil
	}
	s.mu.Lock()
	var lines [][]string
	open := slices.Contains(s.see.steps[i].checks, false)
	for k := range s.lesson.Steps[i].Checks {
		c := &s.lesson.Steps[i].Checks[k]
		if !open {
			break
		}
		for n := range c.Packet {
			m := s.see.named(&c.Packet[n])
			args := []string{"packet", m.From, m.To}
			if m.Proto != "" {
				args = append(args, "--proto", m.Proto)
			}
			lines = append(lines, args)
		}
	}
	s.mu.Unlock()
	if len(lines) == 0 {
		return nil
	}
	if err := s.host.Mark(ctx, probeMark(s.lesson, s.lesson.Steps[i])); err != nil {
		return err
	}
	for _, args := range lines {
		limited, cancel := context.WithTimeout(ctx, commandPatience)
		_, err := s.host.Klab(limited, args...)
		cancel()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		_ = err // a packet that is lost, or an end that is not there, is what the check says
	}
	return nil
}
