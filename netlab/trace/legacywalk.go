package trace

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/klab-project/klab/core/step"
)

// A packet's way through the rules of one hook is walked: each rule's text says
// whether it matches. Where it may or may not, as with a die, both ways are
// walked, and what really became of the packet chooses between them.

// walked is one way through the tables of a hook.
type walked struct {
	packet  legacyPacket // as it is then
	tables  []tableWalk
	ended   string // "drop" or "reject": it went no further
	changed bool   // a rule translated it
	stopped string // why nothing can be said of what follows
}

// tableWalk is what the rules of one table did.
type tableWalk struct {
	table  string
	prio   int32
	packet legacyPacket // as it came to the table
	hops   []step.Hop
}

// mostWays is how many ways are walked at most.
const mostWays = 512

// legacyWalk walks the tables of a hook.
type legacyWalk struct {
	rules  *Ruleset
	family string
	hook   string
	nat    bool // the connection is new: the rules of nat are asked
	count  int
	ends   []walked
}

// walk returns all ways that the packet may have gone.
func (w *legacyWalk) walk(k legacyPacket) []walked {
	var tables []*Chain
	for i := range w.rules.Chains {
		c := &w.rules.Chains[i]
		if c.Legacy && c.Family == w.family && c.Hook == w.hook {
			tables = append(tables, c)
		}
	}
	slices.SortFunc(tables, func(x, y *Chain) int { return int(x.Priority) - int(y.Priority) })
	w.table(walked{packet: k}, tables)
	return w.ends
}

// table walks the first of these tables, and then the others.
func (w *legacyWalk) table(so walked, tables []*Chain) {
	if w.count++; w.count > mostWays {
		so.stopped = "there are too many ways that it may have gone"
	}
	if so.ended != "" || so.stopped != "" || len(tables) == 0 {
		w.ends = append(w.ends, so)
		return
	}
	base := tables[0]
	if base.Table == "nat" && (!w.nat || so.packet.state == "UNTRACKED") {
		w.table(so, tables[1:])
		return
	}
	so.tables = append(slices.Clone(so.tables), tableWalk{table: base.Table, prio: base.Priority, packet: so.packet})
	w.chain(so, []frame{{name: base.Name, chain: base}}, func(so walked) { w.table(so, tables[1:]) })
}

// chain walks on in the innermost of the chains that a packet is in; then is
// what follows the table.
func (w *legacyWalk) chain(so walked, stack []frame, then func(walked)) {
	if so.stopped != "" || so.ended != "" || len(stack) == 0 {
		then(so)
		return
	}
	top := &stack[len(stack)-1]
	for at := top.at; at < len(top.chain.Rules); at++ {
		match, r := so.packet.read(top.chain.Rules[at].Text)
		switch match {
		case no:
			continue
		case unknown:
			so.stopped = fmt.Sprintf("rule %d of chain %s of table %s has a match that is not known: %s", at+1, top.chain.Name, top.chain.Table, top.chain.Rules[at].Text)
			then(so)
			return
		case chance:
			if w.count++; w.count <= mostWays {
				w.matched(so, slices.Clone(stack), at, r, then)
			}
			continue
		}
		w.matched(so, stack, at, r, then)
		return
	}
	w.atEnd(so, stack, then)
}

// atEnd is for the end of a chain: back to the one that led here, or the policy.
func (w *legacyWalk) atEnd(so walked, stack []frame, then func(walked)) {
	top := &stack[len(stack)-1]
	h := step.Hop{Chain: top.name, Verdict: "return", Skipped: top.rest()}
	if top.chain.Hook == "" {
		if len(h.Skipped) > 0 {
			so = so.with(h)
		}
		w.chain(so, stack[:len(stack)-1], then)
		return
	}
	if h.Verdict = top.chain.Policy; h.Verdict == "drop" || len(h.Skipped) > 0 {
		so = so.with(h)
	}
	if top.chain.Policy == "drop" {
		so.ended = "drop"
	}
	w.chain(so, nil, then)
}

// with adds a hop to the last table.
func (so walked) with(h step.Hop) walked {
	so.tables = slices.Clone(so.tables)
	t := &so.tables[len(so.tables)-1]
	h.Layer, h.Table, h.Confidence = step.LayerRule, t.table, confInferred
	t.hops = append(slices.Clone(t.hops), h)
	return so
}

// matched does what a rule says.
func (w *legacyWalk) matched(so walked, stack []frame, at int, r legacyRule, then func(walked)) {
	top := &stack[len(stack)-1]
	rule, skipped := top.chain.hopRule(at), top.passed(at)
	top.next, top.at = at+1, at+1
	h := step.Hop{Chain: top.name, Rule: &rule, Skipped: skipped, Verdict: legacyVerdict(r.target)}
	if chain := w.rules.legacyChain(w.family, top.chain.Table, r.target); chain != nil {
		h.Verdict, h.Jump = "jump", r.target
		if r.goes {
			h.Verdict, stack = "goto", stack[:len(stack)-1]
		}
		w.chain(so.with(h), append(slices.Clip(stack), frame{name: r.target, chain: chain}), then)
		return
	}
	so = so.with(h)
	switch r.target {
	case "ACCEPT":
		w.chain(so, nil, then)
	case "DROP", "REJECT":
		so.ended = h.Verdict
		w.chain(so, nil, then)
	case "RETURN":
		if top.chain.Hook != "" { // the chain's policy
			top.next, top.at = len(top.chain.Rules), len(top.chain.Rules)
			w.atEnd(so, stack, then)
			return
		}
		w.chain(so, stack[:len(stack)-1], then)
	case "MARK":
		so.packet.mark = newMark(so.packet.mark, r.args)
		w.chain(so, stack, then)
	case "NOTRACK", "CT":
		if _, ok := r.args["--notrack"]; ok || r.target == "NOTRACK" {
			so.packet.state = "UNTRACKED"
		}
		w.chain(so, stack, then)
	case "", "LOG", "NFLOG", "CONNMARK", "TCPMSS", "TRACE", "CONNSECMARK", "CLASSIFY":
		w.chain(so, stack, then)
	case "DNAT", "REDIRECT", "SNAT", "MASQUERADE":
		so.changed = true
		so.packet.translate(r)
		w.chain(so, nil, then)
	default:
		so.stopped = fmt.Sprintf("rule %d of chain %s of table %s does something that is not known: %s", at+1, top.chain.Name, top.chain.Table, rule.Text)
		then(so)
	}
}

func legacyVerdict(target string) string {
	if v := refined("", "-j "+target); v != "" {
		return v
	}
	switch target {
	case "ACCEPT", "DROP", "RETURN":
		return strings.ToLower(target)
	}
	return "continue"
}

func newMark(mark uint32, args map[string]string) uint32 {
	for option, text := range args {
		value, mask, ok := masked32(text)
		switch {
		case !ok:
		case option == "--set-xmark":
			return mark&^mask ^ value
		case option == "--set-mark":
			return mark&^mask | value
		case option == "--or-mark":
			return mark | value
		case option == "--and-mark":
			return mark & value
		case option == "--xor-mark":
			return mark ^ value
		}
	}
	return mark
}

// translate gives the packet its new destination, as far as the rule says it.
func (k *legacyPacket) translate(r legacyRule) {
	switch r.target {
	case "DNAT":
		to := r.args["--to-destination"]
		if at, err := netip.ParseAddrPort(to); err == nil {
			k.Dst, k.DPort = at.Addr(), at.Port()
		} else if a := addrIn(to); a.IsValid() {
			k.Dst = a
		} else if port, err := strconv.ParseUint(strings.TrimPrefix(to, ":"), 10, 16); err == nil {
			k.DPort = uint16(port)
		}
	case "REDIRECT":
		if port, err := strconv.ParseUint(r.args["--to-ports"], 10, 16); err == nil {
			k.DPort = uint16(port)
		}
	}
}

// legacyChain is Chain among those of the legacy kind.
func (r *Ruleset) legacyChain(family, table, name string) *Chain {
	for i := range r.Chains {
		if c := &r.Chains[i]; c.Legacy && c.Name == name && c.Table == table && c.Family == family && c.Hook == "" {
			return c
		}
	}
	return nil
}
