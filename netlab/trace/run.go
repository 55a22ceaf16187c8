package trace

import (
	"fmt"
	"strings"

	"github.com/klab-project/klab/core/step"
)

// run is one packet's way through one base chain and the chains that it jumps
// to, as the events tell it.
type run struct {
	space  string
	hook   string
	prio   int32
	in     string // links, as the hook sees them
	out    string
	p      *Packet // as it came to the chain
	mark   uint32
	events []Event
	walked []step.Hop // not nil: of rules that tell nothing, see inferred
}

// runs are the runs of all packets, in order. A run begins with the event that
// has the packet; packets of two processors may be told of in turns.
func (c *Capture) runs(kernel *asker) (list []*run) {
	open := map[traced]*run{}
	for _, e := range c.Events {
		at := traced{e.Space, e.ID}
		if e.P != nil {
			r := &run{space: e.Space, p: e.P, mark: e.Mark}
			if e.In != 0 {
				r.in = c.link(e.Space, e.In).Name
			}
			if e.Out != 0 {
				r.out = c.link(e.Space, e.Out).Name
			}
			if base := c.Rules[e.Space].Chain(families[e.Family], e.Table, e.Chain); base != nil {
				r.hook, r.prio = base.Hook, base.Priority
			} else {
				r.hook = strings.ToLower(e.Chain) // the rules have changed since
			}
			open[at] = r
			list = append(list, r)
		}
		if r := open[at]; r != nil {
			r.events = append(r.events, e)
		}
	}
	return c.inferred(list, kernel)
}

// hops are what the run's rules did. Those that did not match come with the
// next one that did, or with the end of the chain.
func (r *run) hops(c *Capture, names Names) (list []step.Hop) {
	rules := c.Rules[r.space]
	var stack []*frame
	base := step.Hop{Layer: step.LayerRule, Hook: r.hook, Confidence: confObserved}
	base.Iface, base.Dir = r.in, "in"
	if r.out != "" {
		base.Iface, base.Dir = r.out, "out"
	}
	for _, h := range r.walked {
		h.Hook, h.Iface, h.Dir = base.Hook, base.Iface, base.Dir
		h.Object = objectOf(names, &h)
		list = append(list, h)
	}
	if r.walked != nil {
		return list
	}
	for _, e := range r.events {
		chain := rules.Chain(families[e.Family], e.Table, e.Chain)
		for len(stack) > 0 && stack[len(stack)-1].name != e.Chain {
			stack = stack[:len(stack)-1]
		}
		if len(stack) == 0 {
			stack = append(stack, &frame{name: e.Chain, chain: chain, next: 0})
		}
		top := stack[len(stack)-1]
		h := base
		h.Table, h.Chain, h.Verdict, h.Jump = e.Table, e.Chain, verdictWord(e), e.Jump
		switch {
		case e.Handle != 0:
			h.Rule, h.Skipped = top.match(e.Handle)
			h.Verdict = refined(h.Verdict, h.Rule.Text)
		case e.Type == eventPolicy:
			if h.Skipped = top.rest(); len(h.Skipped) == 0 && e.Verdict == verdictAccept {
				continue
			}
		case e.Verdict == verdictReturn:
			h.Skipped = top.rest()
		default: // the chain's end
			if e.Type == eventRule && top.chain != nil && top.chain.Hook != "" {
				continue // its policy follows
			}
			h.Verdict, h.Skipped = "return", top.rest()
			if stack = stack[:len(stack)-1]; len(h.Skipped) == 0 {
				continue
			}
		}
		switch e.Verdict {
		case verdictJump, verdictGoto:
			top.left = e.Verdict == verdictGoto
			stack = append(stack, &frame{name: e.Jump, chain: rules.Chain(families[e.Family], e.Table, e.Jump)})
		case verdictReturn:
			stack = stack[:len(stack)-1]
		}
		h.Object = objectOf(names, &h)
		list = append(list, h)
	}
	return list
}

// frame is a chain that a packet is in, and the rule that it comes to next.
type frame struct {
	name  string
	chain *Chain
	next  int
	at    int  // of a walk: the rule that is looked at next
	left  bool // by a goto: what follows is not looked at
}

// maxSkipped is how many rules without a match one hop lists.
const maxSkipped = 40

// match is the rule with that handle, and those that were passed before it.
func (f *frame) match(handle uint64) (*step.HopRule, []step.HopRule) {
	i := f.chain.at(handle)
	if i < 0 {
		return &step.HopRule{Handle: handle, Text: "(a rule that has been changed since)"}, nil
	}
	skipped := f.passed(i)
	f.next = i + 1
	r := f.chain.hopRule(i)
	return &r, skipped
}

// rest are the rules up to the end of the chain.
func (f *frame) rest() []step.HopRule {
	if f.chain == nil || f.left {
		return nil
	}
	return f.passed(len(f.chain.Rules))
}

func (f *frame) passed(end int) (list []step.HopRule) {
	for i := f.next; i < end; i++ {
		if len(list) == maxSkipped {
			return append(list, step.HopRule{Text: fmt.Sprintf("… and %d more", end-i)})
		}
		list = append(list, f.chain.hopRule(i))
	}
	return list
}

func (c *Chain) hopRule(i int) step.HopRule {
	r := c.Rules[i]
	text := r.Text
	if text == "" {
		text = fmt.Sprintf("(rule with handle %d)", r.Handle)
	}
	return step.HopRule{N: i + 1, Handle: r.Handle, Text: text, Comment: r.Comment}
}

func verdictWord(e Event) string {
	switch e.Verdict {
	case verdictReturn:
		return "return"
	case verdictGoto:
		return "goto"
	case verdictJump:
		return "jump"
	case verdictDrop:
		return "drop"
	case verdictAccept:
		return "accept"
	case verdictStolen:
		return "stolen"
	}
	return "continue"
}

// targets are verdicts that are more than the kernel calls them, by what the
// text of their rule says in iptables and in nft.
var targets = []struct{ iptables, nft, verdict string }{
	{"-j DNAT", "dnat to", "dnat"}, {"-j REDIRECT", "redirect", "dnat"}, {"-j SNAT", "snat to", "snat"},
	{"-j MASQUERADE", "masquerade", "masquerade"}, {"-j REJECT", "reject", "reject"}, {"-j MARK", "mark set", "mark"},
}

// refined is the verdict in the words of core/step.
func refined(verdict, text string) string {
	if verdict == "jump" || verdict == "goto" || verdict == "return" {
		return verdict
	}
	text = quotedComment.ReplaceAllString(text, "") // which may say anything
	for _, t := range targets {
		if strings.Contains(text, t.iptables) || !strings.Contains(text, "-j ") && strings.Contains(text, t.nft) {
			return t.verdict
		}
	}
	return verdict
}

func objectOf(names Names, h *step.Hop) *step.Object {
	if names == nil {
		return nil
	}
	comment := ""
	if h.Rule != nil {
		comment = h.Rule.Comment
	}
	if h.Jump != "" {
		if o := names.Chain(h.Jump, comment); o != nil {
			return o
		}
	}
	return names.Chain(h.Chain, comment)
}
