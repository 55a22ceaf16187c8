package trace

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/netlab/proxy"
)

// Capture is everything that was seen of one packet, its answer, and what the
// kernel said when it was asked: from it, and from nothing else, follows the
// list of hops.
type Capture struct {
	Ask      Ask                 `json:"ask"`
	Key      Key                 `json:"key"`
	Began    int64               `json:"began"` // as of Seen.At
	Refusal  string              `json:"refusal,omitempty"`
	Errno    int                 `json:"errno,omitempty"` // why the kernel would not send
	Spaces   []SpaceSeen         `json:"spaces"`
	All      []Space             `json:"all"`  // that were looked into
	Seen     []Seen              `json:"seen"` // in each space in order
	Events   []Event             `json:"events,omitempty"`
	Rules    map[string]*Ruleset `json:"rules,omitempty"` // by space
	Answers  []Answer            `json:"answers,omitempty"`
	Lost     bool                `json:"lost,omitempty"` // the kernel had more events than could be heard
	Ports    Ports               `json:"ports"`
	Watching bool                `json:"watching,omitempty"` // somebody else sent it
	Flow     *Flow               `json:"flow,omitempty"`     // then, of datagrams
}

// SpaceSeen is a space with its links.
type SpaceSeen struct {
	Space
	Links []Link `json:"links"`
}

func (c *Capture) space(name string) *SpaceSeen {
	i := slices.IndexFunc(c.Spaces, func(s SpaceSeen) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return &c.Spaces[i]
}

func (c *Capture) link(space string, index int) Link {
	if s := c.space(space); s != nil {
		for _, l := range s.Links {
			if l.Index == index {
				return l
			}
		}
	}
	return Link{Index: index}
}

// leg tells what a packet is to the probe: "" if it is none of its packets that
// are shown.
func (c *Capture) leg(p *Packet) string {
	switch {
	case p.ARP != 0:
		return ""
	case p.icmp() && p.isError():
		if p.Quoted != nil && c.leg(p.Quoted) != "" {
			return legError
		}
	case p.Proto == unix.IPPROTO_TCP:
		if p.Seq == uint32(c.Key) && p.Flags&flagACK == 0 {
			return legRequest // also as quoted, without flags
		}
		if p.Ack == uint32(c.Key)+1 && p.Flags&(flagSYN|flagRST) != 0 {
			return legReply
		}
	case c.Flow != nil:
		return c.Flow.leg(p)
	case p.Token != c.Key || c.Watching:
	case p.icmp():
		return p.echo()
	case p.Answer || c.Ask.To.Port() != dnsPort && !c.sent(p):
		return legReply
	default:
		return legRequest
	}
	return ""
}

// sent tells a datagram from one that answers with the same load: the number
// in its IP header is that of the one that left its sender.
func (c *Capture) sent(p *Packet) bool {
	for _, s := range c.Seen {
		if s.Space == c.Ask.From && s.P.Token == c.Key && s.P.Proto == unix.IPPROTO_UDP && s.P.Dst == c.Ask.To.Addr() && s.P.DPort == c.Ask.To.Port() {
			return s.P.ID == p.ID
		}
	}
	return true
}

// afterwards is how long one listens on when a packet has surely been thrown
// away; the others are how long an answer is waited for: nobody has to answer
// a datagram.
const (
	afterwards = 20 * time.Millisecond
	waitTCP    = time.Second
	waitUDP    = 500 * time.Millisecond
)

// Probe sends a packet and follows it and its answer. The error is one of the
// tracer; a packet that is lost or refused is no error.
func (t *Tracer) Probe(ctx context.Context, a Ask) (*Capture, error) {
	if err := a.Check(); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.armLocked(); err != nil {
		return nil, err
	}
	if err := t.retraceAll(); err != nil {
		return nil, err
	}
	s, err := t.space(a.From)
	if err != nil {
		return nil, err
	}
	known := t.recall(t.world.rememberers(func(_ proxy.Mode, p proxy.Port) bool {
		return a.To.Port() != 0 && (p.Port == int(a.To.Port()) || p.NodePort == int(a.To.Port()))
	}))
	p := &probe{Ask: a, key: t.nextKey(), fd: -1}
	e := t.armed.listen()
	defer t.armed.deafen(e)
	c := &Capture{Ask: a, Key: p.key, Began: time.Now().UnixNano(), Ports: t.ports(), Answers: known}
	err = p.send(s)
	defer p.hangUp()
	var no refusal
	if errors.As(err, &no) {
		c.Refusal = no.Error()
		var errno unix.Errno
		if errors.As(no.err, &errno) {
			c.Errno = int(errno)
		}
	} else if err != nil {
		return nil, err
	}
	if err := p.await(ctx, c, e); err != nil {
		return nil, err
	}
	p.hangUp()
	t.armed.settle()
	c.take(e)
	return c, t.complete(ctx, c)
}

// await returns when the answer is there, when it is clear that none comes, or
// when patience ends.
func (p *probe) await(ctx context.Context, c *Capture, e *ear) error {
	patience := p.Patience
	if patience == 0 {
		patience = waitTCP
		if p.Proto == "udp" {
			patience = waitUDP
		}
	}
	if c.Errno != 0 {
		patience = afterwards
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	shortened := false
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return nil
		case <-e.news:
		}
		c.take(e)
		switch after, ended := p.ended(c); {
		case ended && after == 0:
			return nil
		case ended && !shortened:
			shortened = true
			timer.Reset(after)
		}
	}
}

// take gets what was heard so far.
func (c *Capture) take(e *ear) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c.Seen, c.Events, c.Lost = slices.Clone(e.seen), slices.Clone(e.events), e.lost
}

// ended decides whether there is something left to wait for, and how long.
func (p *probe) ended(c *Capture) (after time.Duration, ended bool) {
	came := false
	for _, s := range c.Seen {
		leg := c.leg(s.P)
		if s.Space == p.From && !s.Out && leg != "" && leg != legRequest {
			if came = true; s.P.Dst == p.local.Addr() {
				return 0, true
			}
		}
	}
	if came && p.heard() { // for another address, which is translated back behind the last tap
		return 0, true
	}
	dropped := map[uint32]bool{}
	for _, x := range c.Events {
		if x.P != nil && c.leg(x.P) != "" {
			dropped[x.ID] = true
		}
		if x.Verdict == verdictDrop && x.Type != eventReturn && dropped[x.ID] {
			return afterwards, true
		}
	}
	return 0, false
}

// complete throws away what belongs to others, and adds what the kernel says
// of the spaces that the packet passed.
func (t *Tracer) complete(ctx context.Context, c *Capture) error {
	arp := func(s Seen) bool { return s.P.ARP != 0 }
	mine := slices.DeleteFunc(slices.Clone(c.Seen), func(s Seen) bool { return arp(s) || c.leg(s.P) == "" })
	var names []string
	add := func(name string) {
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	add(c.Ask.From)
	for _, s := range mine {
		add(s.Space)
	}
	c.Events = c.ownEvents(mine, func(e Event) bool {
		s := t.spaces[e.Space]
		return s != nil && slices.Contains(s.anchored, families[e.Family])
	})
	c.Seen = slices.DeleteFunc(slices.Clone(c.Seen), func(s Seen) bool { return c.leg(s.P) == "" && !(arp(s) && slices.Contains(names, s.Space)) })
	c.Rules = map[string]*Ruleset{}
	for _, s := range t.spaces {
		c.All = append(c.All, s.Space)
	}
	for _, name := range names {
		s := t.spaces[name]
		if s == nil {
			continue // it has ended meanwhile
		}
		if err := t.refresh(c, s); err != nil {
			return err
		}
		c.Spaces = append(c.Spaces, SpaceSeen{Space: s.Space, Links: slices.Clone(s.links)})
		if !s.traced {
			continue
		}
		rules, err := t.rulesetNow(ctx, s)
		if err == nil {
			rules, err = t.legacyRules(ctx, s, rules)
		}
		if err != nil {
			return err
		}
		c.Rules[name] = rules
	}
	return nil
}

// refresh reads the links of a space anew if one is unknown.
func (t *Tracer) refresh(c *Capture, s *space) error {
	for _, x := range c.Seen {
		if x.Space == s.Name && s.link(x.Index) == nil {
			if err := s.look(); err != nil {
				return err
			}
			break
		}
	}
	t.peers(s)
	return nil
}

// ownEvents are the events of runs that began with a packet of the probe's: one
// with its key, or, where the event has too little of it, one that a tap saw.
// Those of our own table are kept where something is inferred from them.
func (c *Capture) ownEvents(mine []Seen, anchored func(Event) bool) (list []Event) {
	type run struct {
		space string
		id    uint32
	}
	own := map[run]bool{}
	for _, e := range c.Events {
		at := run{e.Space, e.ID}
		if e.P != nil {
			own[at] = c.leg(e.P) != "" || slices.ContainsFunc(mine, func(s Seen) bool { return s.Space == e.Space && same(e.P, s.P) })
		}
		if own[at] && (e.Table != tableName || e.P != nil && anchored(e)) {
			list = append(list, e)
		}
	}
	return list
}

// same tells whether the beginning of a packet, as an event has it, is that of
// the packet on the link.
func same(e, p *Packet) bool {
	p = p.outermost()
	if e.Proto != p.Proto || e.ID != p.ID {
		return false
	}
	switch e.Proto {
	case unix.IPPROTO_TCP:
		return e.Seq == p.Seq && e.Ack == p.Ack
	case unix.IPPROTO_UDP:
		if p.Kind != "" && e.Src.Is6() { // no number is in it: way, flow and length tell packets of a tunnel apart
			return e.Src == p.Src && e.SPort == p.SPort && e.Len == p.Len
		}
		return (e.SPort == p.SPort || e.DPort == p.DPort) && (p.Kind != "" || e.Head == p.Head)
	}
	return e.Type == p.Type && e.Code == p.Code && (e.Src == p.Src || e.Dst == p.Dst)
}
