package trace

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/klab-project/klab/core/step"
)

// What a device itself does to packets is not traced: rules of the family
// netdev, and queues that lose on purpose. They are looked for where a packet
// was lost beside a device and nothing else says why.
//
// A tap sees a packet before the rules and queues of ingress, and behind those
// of egress.

// passage is a device that the packet had to pass after it was last seen.
type passage struct{ space, dev, hook string }

// byDevice says what at the devices around the packet's last place loses
// packets; otherwise it returns what was found without it.
func (a *assembly) byDevice(last *tapped, found *step.HopDrop) *step.HopDrop {
	if found != nil && found.Reason != ReasonLinkLoss && found.Reason != ReasonUnknown && found.Reason != ReasonNoAnswer {
		return found
	}
	for _, p := range a.passages(last) {
		x, _ := a.ask(Question{Kind: askNetdev, Space: p.space, Dev: p.dev})
		if d := losesByRule(p, x.Found); d != nil {
			return d
		}
		if q, _ := a.ask(Question{Kind: askQueue, Space: p.space, Dev: p.dev}); q.Found != "" && p.hook == "egress" {
			return &step.HopDrop{Reason: ReasonLinkLoss, Says: fmt.Sprintf("the queue of %s of %s loses packets on purpose: %s", p.dev, p.space, q.Found),
				Evidence: []string{fmt.Sprintf("tc qdisc show dev %s on %s: %s", p.dev, p.space, q.Found)}}
		}
	}
	return found
}

// passages are the devices between the place at which the packet was last seen
// and the next one at which it would have been.
func (a *assembly) passages(last *tapped) (list []passage) {
	route := func(q Question) string {
		if x, _ := a.ask(q); x.Route != nil {
			return x.Route.Dev
		}
		return ""
	}
	add := func(space, dev, hook string) {
		if dev != "" {
			list = append(list, passage{space, dev, hook})
		}
	}
	switch {
	case last == nil:
		add(a.Ask.From, route(Question{Kind: askRoute, Space: a.Ask.From, Dst: a.Ask.To.Addr(), Src: a.Ask.Src}), "egress")
	case last.Out && last.link.Kind == "vxlan":
		x, _ := a.ask(Question{Kind: askFDB, Space: last.Space, Key: last.P.DstMAC, Dev: last.link.Name})
		if remote, err := netip.ParseAddr(x.Found); err == nil {
			add(last.Space, route(Question{Kind: askRoute, Space: last.Space, Dst: remote}), "egress")
		}
	case last.Out && last.link.Kind == "bridge":
		add(last.Space, a.portTo(last.Space, last.link.Name, last.P.DstMAC), "egress")
	case last.Out:
	default:
		add(last.Space, last.link.Name, "ingress")
		p := last.P.outermost()
		if last.link.Master != "" && a.bridged(last) {
			add(last.Space, a.portTo(last.Space, last.link.Master, p.DstMAC), "egress")
			break
		}
		dst := p.Dst
		if last.P.Outer == nil {
			dst = a.translatedTo(last)
		}
		if !a.owns(last.Space, dst) {
			add(last.Space, route(Question{Kind: askRoute, Space: last.Space, Dst: dst, Src: p.Src, In: l3(last)}), "egress")
		}
	}
	return list
}

// portTo is the port of a bridge behind which a MAC is.
func (a *assembly) portTo(space, bridge, mac string) string {
	for _, l := range a.links(space) {
		if l.Master != bridge {
			continue
		}
		if far := linkOf(a.links(l.PeerSpace), l.Peer); far != nil && far.MAC == mac {
			return l.Name
		}
	}
	return ""
}

var (
	netdevHook   = regexp.MustCompile(`^type filter hook (ingress|egress) devices? (?:= )?(.*?) priority .*policy (\w+);`)
	netdevDevice = regexp.MustCompile(`[^\s{},"]+`)
	netdevCount  = regexp.MustCompile(`\bcounter( packets \d+ bytes \d+)?`)
)

// losesByRule finds a rule, or a chain's policy, that drops packets at a
// device's hook, in what nft -a list ruleset netdev says.
func losesByRule(p passage, listed string) *step.HopDrop {
	table, chain, policy := "", "", ""
	here, n := false, 0
	says := func(what, did, evidence string) *step.HopDrop {
		return &step.HopDrop{Reason: ReasonLinkLoss, Says: fmt.Sprintf("%s of chain %s of table netdev %s %s at %s of %s (%s)", what, chain, table, did, p.dev, p.space, p.hook),
			Evidence: []string{fmt.Sprintf("nft list table netdev %s on %s: %s", table, p.space, evidence)}}
	}
	for line := range strings.Lines(listed) {
		line = strings.TrimSpace(line)
		if m := handleOf.FindStringSubmatch(line); m != nil {
			line = m[1]
		}
		words := strings.Fields(line)
		switch {
		case len(words) == 4 && words[0] == "table" && words[1] == "netdev":
			table = words[2]
		case len(words) == 3 && words[0] == "chain" && words[2] == "{":
			chain, policy, here, n = words[1], "", false, 0
		case line == "}":
			if here && policy == "drop" {
				return says("the policy", "drops what no rule accepts", "policy drop")
			}
			here = false
		default:
			if m := netdevHook.FindStringSubmatch(line); m != nil {
				here, policy = m[1] == p.hook && slices.Contains(netdevDevice.FindAllString(m[2], -1), p.dev), m[3]
				continue
			}
			if n++; !here {
				continue
			}
			bare := strings.Join(strings.Fields(netdevCount.ReplaceAllString(quotedComment.ReplaceAllString(line, ""), "")), " ")
			if bare == "drop" {
				return says(fmt.Sprintf("rule %d", n), "drops everything", line)
			}
			if strings.HasSuffix(bare, " drop") {
				return says(fmt.Sprintf("rule %d", n), "drops packets such as this, or some of all,", line)
			}
		}
	}
	return nil
}

// netdevRules are the rules of the family netdev in the space, if there are any.
func (s *space) netdevRules() (string, error) {
	r := &Ruleset{}
	if err := s.chains(r); err != nil {
		return "", err
	}
	if !slices.ContainsFunc(r.Chains, func(c Chain) bool { return c.Family == "netdev" }) {
		return "", nil
	}
	return s.output(context.Background(), "nft", "-a", "list", "ruleset", "netdev")
}

// queue is what a link's queues lose on purpose, as tc writes it.
func (s *space) queue(dev string) (string, error) {
	l, err := s.nl.LinkByName(dev)
	if err != nil {
		return "", err
	}
	list, err := s.nl.QdiscList(l)
	if err != nil {
		return "", err
	}
	return lossy(list), nil
}

func lossy(list []netlink.Qdisc) string {
	for _, q := range list {
		if e, ok := q.(*netlink.Netem); ok && e.Loss > 0 {
			return fmt.Sprintf("netem loss %.3g%%", float64(e.Loss)/math.MaxUint32*100)
		}
	}
	return ""
}
