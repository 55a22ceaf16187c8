package trace

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/netlab/proxy"
)

// Flow is how the packets of a flow that nobody of ours began are known, beside
// TCP's, which have their initial sequence number: by the sum of what the first
// one carries. Answers go from and to the same ends, the other way round.
type Flow struct {
	Load    uint32           `json:"load"`
	Answers []netip.AddrPort `json:"answers,omitempty"` // pairs of source and destination
	// DNS says that each question is a flow: several may have the same ends, and
	// only the answers with its Head are its own.
	DNS  bool   `json:"dns,omitempty"`
	Head uint16 `json:"head,omitempty"`
}

// leg is Capture.leg for flows of datagrams.
func (f *Flow) leg(p *Packet) string {
	if p.icmp() {
		if p.Load == f.Load {
			return p.echo()
		}
		return ""
	}
	if f.answers(p) && (!f.DNS || p.Head == f.Head) {
		return legReply
	}
	if p.Load == f.Load {
		return legRequest
	}
	return ""
}

func (f *Flow) answers(p *Packet) bool {
	for i := 0; i+1 < len(f.Answers); i += 2 {
		if f.Answers[i] == p.from() && f.Answers[i+1] == p.to() {
			return true
		}
	}
	return false
}

// flowID tells flows apart at one place.
type flowID struct {
	proto    uint8
	from, to netip.AddrPort
	number   uint32 // TCP's initial sequence number, the load's sum of an echo, DNS's ID
}

// begins is the flow that a packet may be the first of.
func begins(p *Packet) (id flowID, ok bool) {
	id = flowID{proto: p.Proto, from: p.from(), to: p.to()}
	switch p.Proto {
	case unix.IPPROTO_TCP:
		id.number = p.Seq
		return id, p.Flags&(flagSYN|flagACK) == flagSYN && p.Seq>>16 != keyMagic
	case unix.IPPROTO_UDP:
		if p.dns() {
			id.number = uint32(p.Head)
		}
		return id, p.Token == 0 && p.Kind == ""
	case unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6:
		id.number = p.Load
		return id, p.echo() == legRequest && p.Token == 0
	}
	return id, false
}

const (
	flowWait   = 600 * time.Millisecond // for an answer, before the flow is shown without
	flowMemory = 5 * time.Second        // for which packets are kept
	flowForget = time.Minute            // after which a pair of ends is a new flow
)

// watch is one Watch under way.
type watch struct {
	t     *Tracer
	space string
	e     *ear
	known map[flowID]time.Time
	open  []Seen   // the first packets of flows that are not told of yet
	kept  []Answer // whom nodes kept when it began
}

// Watch tells of each flow that begins at a space, whoever began it, until ctx
// ends. Meanwhile all namespaces are listened to more widely.
func (t *Tracer) Watch(ctx context.Context, space string, each func(Way, *Capture) error) error {
	t.mu.Lock()
	err := t.armLocked()
	if err == nil {
		_, err = t.space(space)
	}
	if err == nil {
		err = t.widen(1)
	}
	if err != nil {
		t.mu.Unlock()
		return err
	}
	w := &watch{t: t, space: space, e: t.armed.listen(), known: map[flowID]time.Time{}}
	w.kept = t.recall(t.world.rememberers(func(m proxy.Mode, _ proxy.Port) bool { return m == proxy.NFTables }))
	r := t.armed
	t.mu.Unlock()
	defer func() {
		r.deafen(w.e)
		t.mu.Lock()
		defer t.mu.Unlock()
		_ = t.widen(-1) // a namespace that has ended needs no narrowing
	}()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := w.look(ctx, each); err != nil {
			return err
		}
	}
}

// widen counts who needs more than the packets of probes, and sees to it that
// they are heard.
func (t *Tracer) widen(by int) error {
	t.watchers += by
	if t.armed == nil || t.armed.wide == (t.watchers > 0) {
		return nil
	}
	t.armed.wide = t.watchers > 0
	for _, s := range t.spaces {
		if s.tap < 0 {
			continue
		}
		if err := attach(s.tap, t.ports().filter(t.armed.wide)); err != nil {
			return fmt.Errorf("listen in %s: %w", s.Name, err)
		}
		if err := t.retrace(s); err != nil {
			return err
		}
		if !s.traced {
			continue
		}
		if err := s.mark(t.ports(), t.armed.wide); err != nil {
			return err
		}
	}
	return nil
}

// look finds flows that began, and tells of those that have come to an end or
// whose time is up.
func (w *watch) look(ctx context.Context, each func(Way, *Capture) error) error {
	now := time.Now()
	seen, events := w.e.recent(now.Add(-flowMemory).UnixNano())
	for _, s := range seen {
		if s.Space != w.space || s.Other {
			continue
		}
		id, ok := begins(s.P)
		if !ok {
			continue
		}
		back := flowID{proto: id.proto, from: id.to, to: id.from}
		if id.proto == unix.IPPROTO_UDP {
			back.number = id.number
		}
		if at, ok := w.known[id]; ok && now.Sub(at) < flowForget || !w.known[back].IsZero() && id.proto == unix.IPPROTO_UDP {
			continue
		}
		w.known[id] = now
		w.open = append(w.open, s)
	}
	var waiting []Seen
	for _, s := range w.open {
		c := captureOf(s, seen, events)
		if !c.over() && now.UnixNano()-s.At < int64(flowWait) {
			waiting = append(waiting, s)
			continue
		}
		c.Ports, c.Answers = w.t.ports(), slices.Clone(w.kept)
		w.t.mu.Lock()
		err := w.t.complete(ctx, c)
		w.t.mu.Unlock()
		if err != nil {
			return err
		}
		if err := each(w.t.understand(c), c); err != nil {
			return err
		}
	}
	w.open = waiting
	for id, at := range w.known {
		if now.Sub(at) > flowForget {
			delete(w.known, id)
		}
	}
	return nil
}

// recent is what was heard since a time; what is older is forgotten. Events
// have no time: as many are kept as can belong to it.
func (e *ear) recent(since int64) ([]Seen, []Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seen = slices.DeleteFunc(e.seen, func(s Seen) bool { return s.At < since })
	const most = 20000
	if n := len(e.events); n > most {
		e.events = slices.Clone(e.events[n-most:])
	}
	return slices.Clone(e.seen), slices.Clone(e.events)
}

// captureOf is a capture of the flow that began with a packet somewhere: who
// sent it is who was seen first.
func captureOf(first Seen, seen []Seen, events []Event) *Capture {
	c := &Capture{Seen: seen, Events: events, Watching: true, Key: Key(first.P.Seq)}
	if first.P.Proto != unix.IPPROTO_TCP {
		c.Flow = &Flow{Load: first.P.Load}
		if first.P.Proto == unix.IPPROTO_UDP {
			c.Flow.DNS, c.Flow.Head = first.P.dns(), first.P.Head
			for _, s := range inTime(seen) {
				// An answer may be an echo, and of IPv6 it may have the same number.
				if s.P.Proto == unix.IPPROTO_UDP && s.P.Load == first.P.Load && s.P.ID == first.P.ID && !c.Flow.answers(s.P) {
					c.Flow.Answers = append(c.Flow.Answers, s.P.to(), s.P.from())
				}
			}
		}
	}
	origin := first
	for _, s := range seen {
		if c.leg(s.P) == legRequest && s.At < origin.At {
			origin = s
		}
	}
	c.Began = origin.At
	c.Ask = Ask{From: origin.Space, To: origin.P.to(), Proto: protocolName(first.P.Proto)}
	return c
}

// inTime is what was seen in the order of time.
func inTime(seen []Seen) []Seen {
	return slices.SortedStableFunc(slices.Values(seen), func(x, y Seen) int { return cmp.Compare(x.At, y.At) })
}

func protocolName(proto uint8) string {
	if proto == unix.IPPROTO_ICMPV6 {
		return "icmp"
	}
	for name, n := range protocols {
		if n == proto {
			return name
		}
	}
	return ""
}

// over tells whether the answer, or an error, has come to the sender.
func (c *Capture) over() bool {
	for _, s := range c.Seen {
		if leg := c.leg(s.P); s.Space == c.Ask.From && !s.Out && (leg == legReply || leg == legError) {
			return true
		}
	}
	return false
}

// Watching tells whether somebody watches.
func (t *Tracer) Watching() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.watchers > 0
}
