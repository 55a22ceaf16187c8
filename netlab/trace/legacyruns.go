package trace

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/klab-project/klab/core/step"
)

// inferred puts, in the place of what was seen before and behind the tables of a
// hook, the runs through those of the legacy kind that lead from one to the other.
func (c *Capture) inferred(list []*run, kernel *asker) (all []*run) {
	i := inference{Capture: c, asker: kernel, requests: map[string]bool{}, untracked: map[traced]bool{}, translated: map[string]uint32{}}
	for n, r := range list {
		if first := r.events[0]; first.Table != tableName {
			all = append(all, r)
		} else if hook, after := anchored(first); !after {
			r.hook = hook
			all = append(all, i.runs(r, following(list[n+1:], first, hook))...)
		}
	}
	return all
}

// traced is a packet that the kernel tells of.
type traced struct {
	space string
	id    uint32
}

// following is the run behind the tables of a hook that belongs to the one before
// them; nil if the packet did not come so far.
func following(list []*run, first Event, hook string) *run {
	for _, r := range list {
		e := r.events[0]
		if e.Space != first.Space || e.ID != first.ID || e.Table != tableName {
			continue
		}
		if at, after := anchored(e); after && at == hook {
			return r
		}
		return nil
	}
	return nil
}

// inference is what is known of connections while a capture's runs are inferred,
// in their order.
type inference struct {
	*Capture
	*asker
	requests   map[string]bool   // the spaces in which the request was
	untracked  map[traced]bool   // packets that are no connection's
	translated map[string]uint32 // by space and hook, the number of the packet that nat was asked for
}

// runs are those of one packet through the tables of one hook. After is the
// packet behind them, nil if it did not come out.
func (i *inference) runs(before, after *run) (list []*run) {
	first := before.events[0]
	rules, family := i.Rules[before.space], families[first.Family]
	if rules == nil || !rules.Legacy {
		return nil
	}
	k := i.packet(before)
	w := &legacyWalk{rules: rules, family: family, hook: before.hook, nat: k.state == "NEW" && i.asks(before)}
	way, says := likeliest(w.walk(k), before, after, w.nat)
	if way == nil {
		return nil
	}
	i.untracked[traced{before.space, first.ID}] = way.packet.state == "UNTRACKED"
	if says != "" && len(way.tables) > 0 {
		last := &way.tables[len(way.tables)-1]
		last.hops = append(slices.Clone(last.hops), step.Hop{Layer: step.LayerRule, Table: last.table, Chain: hookChain(before.hook), Confidence: confInferred,
			Verdict: verdictUnknown, Rule: &step.HopRule{Text: "cannot say what follows: " + says}})
	}
	for _, t := range way.tables {
		p := t.packet.Packet
		list = append(list, &run{space: before.space, hook: before.hook, prio: t.prio, in: before.in, out: before.out, p: &p, mark: t.packet.mark,
			events: []Event{{Space: before.space, ID: first.ID, Family: first.Family, Table: t.table, Chain: before.hook}}, walked: append([]step.Hop{}, t.hops...)})
	}
	return list
}

// verdictUnknown is of a hop at which it cannot be said what rules did.
const verdictUnknown = "unknown"

// packet is the packet before the tables as their rules see it.
func (i *inference) packet(r *run) legacyPacket {
	k := legacyPacket{Packet: *r.p, in: r.in, out: r.out, mark: r.mark, local: func(a netip.Addr) bool {
		s := i.space(r.space)
		return s != nil && owner(s.Links, a)
	}, recent: i.recent(r.space)}
	switch leg := i.legOf(r); {
	case i.untracked[traced{r.space, r.events[0].ID}]:
		k.state = "UNTRACKED"
	case leg == legRequest:
		k.state, i.requests[r.space] = "NEW", true
	case leg == legReply && i.requests[r.space]:
		k.state = "ESTABLISHED"
	case leg == legError && i.requests[r.space]:
		k.state = "RELATED"
	}
	return k
}

// legOf is the leg of a run's packet, of which its event may have too little to
// say so; "" if it is one around another.
func (i *inference) legOf(r *run) string {
	if leg := i.leg(r.p); leg != "" {
		return leg
	}
	for _, s := range i.Seen {
		if s.Space == r.space && s.P.Outer == nil && same(r.p, s.P) {
			return i.leg(s.P)
		}
	}
	return ""
}

// asks tells whether the rules of nat are asked: once for each connection, not
// for what is sent again.
func (i *inference) asks(r *run) bool {
	key := r.space + " " + r.hook
	if id, had := i.translated[key]; had && id != r.p.ID {
		return false
	}
	i.translated[key] = r.p.ID
	return true
}

// likeliest is the one of the ways that leads to what was seen, and what cannot be
// said of it.
func likeliest(ways []walked, before, after *run, nat bool) (*walked, string) {
	var fit, stopped []walked
	for _, x := range ways {
		switch {
		case x.stopped != "":
			stopped = append(stopped, x)
		case x.fits(before, after, nat):
			fit = append(fit, x)
		}
	}
	switch {
	case len(fit) == 1 && len(stopped) == 0:
		return &fit[0], ""
	case len(stopped) > 0:
		all := append(fit, stopped...)
		return common(all), stopped[0].stopped
	case len(fit) > 1:
		return common(fit), "more than one way through the rules leads to what was seen"
	case after == nil && len(ways) > 0: // it ended at something that is no rule
		x := ways[0]
		x.tables = slices.DeleteFunc(slices.Clone(x.tables), func(t tableWalk) bool { return t.prio >= conntrackPriority })
		return &x, ""
	case len(ways) > 0:
		x := common(ways)
		return x, "none of the ways through the rules leads to what was seen"
	}
	return nil, ""
}

// fits tells whether a way leads to what was seen.
func (x *walked) fits(before, after *run, nat bool) bool {
	if after == nil || x.ended != "" {
		return after == nil && x.ended != ""
	}
	if x.packet.mark != after.mark {
		return false
	}
	if !nat { // a connection that was translated stays so, without any rule
		return true
	}
	if !x.changed {
		return after.p.from() == before.p.from() && after.p.to() == before.p.to()
	}
	return after.p.to() == x.packet.to()
}

// common is how far all of these ways are the same.
func common(ways []walked) *walked {
	x := ways[0]
	x.tables = slices.Clone(x.tables)
	for n := range x.tables {
		t := &x.tables[n]
		for _, y := range ways[1:] {
			if n >= len(y.tables) {
				x.tables = x.tables[:n]
				return atLeastOne(&x, ways[0])
			}
			same := 0
			for same < len(t.hops) && same < len(y.tables[n].hops) && sameHop(t.hops[same], y.tables[n].hops[same]) {
				same++
			}
			if same < len(t.hops) || same < len(y.tables[n].hops) {
				t.hops = t.hops[:same]
				x.tables = x.tables[:n+1]
			}
		}
		if n+1 >= len(x.tables) {
			break
		}
	}
	return atLeastOne(&x, ways[0])
}

// atLeastOne keeps the table at which ways part, without a hop.
func atLeastOne(x *walked, whole walked) *walked {
	if len(x.tables) == 0 && len(whole.tables) > 0 {
		t := whole.tables[0]
		t.hops = nil
		x.tables = []tableWalk{t}
	}
	return x
}

func sameHop(a, b step.Hop) bool {
	return a.Chain == b.Chain && a.Verdict == b.Verdict && a.Jump == b.Jump && (a.Rule == nil) == (b.Rule == nil) && (a.Rule == nil || a.Rule.N == b.Rule.N)
}

func hookChain(hook string) string {
	return map[string]string{"prerouting": "PREROUTING", "input": "INPUT", "forward": "FORWARD", "output": "OUTPUT", "postrouting": "POSTROUTING"}[hook]
}

// legacyNotes says what is not observed of rules of the legacy kind.
func (a *assembly) legacyNotes() (notes []string) {
	for _, s := range a.Capture.Spaces {
		r := a.Rules[s.Name]
		if r == nil || !r.Legacy {
			continue
		}
		if r.Unread != "" {
			notes = append(notes, r.Unread)
		}
		if slices.ContainsFunc(r.Chains, func(c Chain) bool { return c.Legacy && len(c.Rules) > 0 }) {
			notes = append(notes, fmt.Sprintf("%s has iptables of the legacy kind, of which the kernel does not tell which rules match: they are inferred from their text and from how the packet came out", s.Name))
		}
	}
	return notes
}
