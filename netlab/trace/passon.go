package trace

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/klab-project/klab/core/step"
)

// notPassedOn is for a packet that came in by a link and was not seen again.
func (a *assembly) notPassedOn(t *tapped) *step.HopDrop {
	dst := t.P.outermost().Dst
	if t.P.Outer == nil {
		dst = a.translatedTo(t)
	}
	if a.owns(t.Space, dst) {
		return a.notAnswered(t)
	}
	if full := a.conntrackFull(t); full != nil {
		return full
	}
	if t.link.Master != "" && a.owns(t.link.PeerSpace, dst) {
		if d := a.hairpinOff(t.Space, t.link, dst); d != nil {
			return d
		}
	}
	if t.link.Master != "" && a.bridged(t) {
		return a.notBridged(t)
	}
	key := "net.ipv4.ip_forward"
	if dst.Is6() {
		key = "net.ipv6.conf.all.forwarding"
	}
	x, ok := a.ask(Question{Kind: askSysctl, Space: t.Space, Key: key})
	if ok && x.Found == "0" {
		return &step.HopDrop{Reason: ReasonForwardOff, Says: fmt.Sprintf("%s is not to pass on packets that are for others", t.Space),
			Evidence: []string{key + " on " + t.Space + " is 0"}}
	}
	q := Question{Kind: askRoute, Space: t.Space, Dst: dst, Src: t.P.outermost().Src, In: l3(t)}
	r, ok := a.ask(q)
	if !ok {
		return nil
	}
	if r.Route == nil {
		d := a.unroutable(q, r, q.In)
		if d.Reason == ReasonRPFilter {
			a.addSysctl(d, t.Space, "net.ipv4.conf.all.rp_filter", "net.ipv4.conf."+strings.ReplaceAll(q.In, ".", ":")+".rp_filter")
		}
		return d
	}
	if d := routeType(r, q); d != nil {
		return d
	}
	if d := a.down(t.Space, r.Route.Dev); d != nil {
		return d
	}
	if l := linkOf(a.spaceLinks(t.Space), r.Route.Dev); l != nil && l.MTU < t.P.outermost().Len && t.P.outermost().DF {
		return &step.HopDrop{Reason: ReasonMTU, Says: fmt.Sprintf("it has %d bytes and must not be cut; %s of %s takes %d", t.P.outermost().Len, l.Name, t.Space, l.MTU),
			Evidence: []string{fmt.Sprintf("%s: mtu %d", l.Name, l.MTU)}}
	}
	if d := a.unresolved(q, r); d != nil {
		return d
	}
	if d := a.wrongMAC(t.Space, r.Route.Dev, dst); d != nil {
		return d
	}
	return &step.HopDrop{Reason: ReasonUnknown, Says: fmt.Sprintf("%s got it and did not pass it on, though it has a way by %s", t.Space, r.Route.Dev)}
}

// l3 is the link at which routing sees the packet.
func l3(t *tapped) string {
	if t.link.Master != "" {
		return t.link.Master
	}
	return t.link.Name
}

// translatedTo is where the packet goes after the rules that it passed.
func (a *assembly) translatedTo(t *tapped) netip.Addr {
	if to := a.dnat(t.Space, t.leg); to.IsValid() {
		return to
	}
	return t.P.Dst
}

var newTarget = regexp.MustCompile(`(?:--to-destination|dnat to) ([0-9a-fA-F.:]+|\[[0-9a-fA-F:.]+\])`)

// dnat is the address that a rule of a space gave the packet; not valid if none did.
func (a *assembly) dnat(space, leg string) (to netip.Addr) {
	for _, f := range a.flights {
		if f.space != space || f.leg != leg {
			continue
		}
		if _, after, ok := a.balanced(f); ok {
			return f.runs[after].p.Dst
		}
		for _, r := range f.runs {
			for _, h := range r.hops(a.Capture, nil) {
				if h.Verdict != "dnat" || h.Rule == nil {
					continue
				}
				if m := newTarget.FindStringSubmatch(h.Rule.Text); m != nil {
					to = addrIn(m[1])
				}
			}
		}
	}
	return to
}

// addrIn is the address in "10.0.0.1", "10.0.0.1:80", "fd00::1" or "[fd00::1]"; not
// valid if there is none.
func addrIn(s string) netip.Addr {
	if at, err := netip.ParseAddrPort(s); err == nil {
		return at.Addr()
	}
	a, _ := netip.ParseAddr(strings.Trim(s, "[]"))
	return a
}

func (a *assembly) addSysctl(d *step.HopDrop, space string, keys ...string) {
	for _, key := range keys {
		if x, ok := a.ask(Question{Kind: askSysctl, Space: space, Key: key}); ok {
			d.Evidence = append(d.Evidence, key+" on "+space+" is "+orNone(x.Found))
		}
	}
}

// conntrackFull is for a packet of a connection for which there is no room: it
// ends behind the raw table.
func (a *assembly) conntrackFull(t *tapped) *step.HopDrop {
	passed := false
	for _, f := range a.flights {
		for _, r := range f.runs {
			if f.space == t.Space && f.leg == t.leg && a.carried(f, r) == nil && r.prio > conntrackPriority {
				passed = true
			}
		}
	}
	if passed || a.Rules[t.Space] == nil || len(a.Rules[t.Space].Chains) == 0 {
		return nil
	}
	most, ok1 := a.ask(Question{Kind: askSysctl, Space: t.Space, Key: "net.netfilter.nf_conntrack_max"})
	count, ok2 := a.ask(Question{Kind: askSysctl, Space: t.Space, Key: "net.netfilter.nf_conntrack_count"})
	if !ok1 || !ok2 {
		return nil
	}
	n, err1 := strconv.Atoi(count.Found)
	m, err2 := strconv.Atoi(most.Found)
	if err1 != nil || err2 != nil || m == 0 || n < m {
		return nil
	}
	return &step.HopDrop{Reason: ReasonConntrackFull, Says: fmt.Sprintf("%s has no room for one more connection in its table", t.Space),
		Evidence: []string{fmt.Sprintf("nf_conntrack_count %d, nf_conntrack_max %d", n, m)}}
}

// bridged tells whether a bridge is to carry the packet itself: it is not for
// the bridge's own MAC.
func (a *assembly) bridged(t *tapped) bool {
	l := linkOf(a.spaceLinks(t.Space), t.link.Master)
	mac := t.P.DstMAC
	if t.P.Outer != nil {
		mac = t.P.Outer.DstMAC
	}
	return l != nil && mac != l.MAC
}

func (a *assembly) notBridged(t *tapped) *step.HopDrop {
	mac := t.P.outermost().DstMAC
	for _, l := range a.links(t.Space) {
		if l.Master != t.link.Master || l.Name == t.link.Name {
			continue
		}
		other := linkOf(a.links(l.PeerSpace), l.Peer)
		if other == nil || other.MAC != mac {
			continue
		}
		if d := a.down(t.Space, l.Name); d != nil {
			return d
		}
		if d := a.down(l.PeerSpace, l.Peer); d != nil {
			return d
		}
	}
	return &step.HopDrop{Reason: ReasonLinkLoss, Says: fmt.Sprintf("%s of %s did not carry it to the port of %s", t.link.Master, t.Space, mac)}
}

// notAnswered is for a packet that came to where it should.
func (a *assembly) notAnswered(t *tapped) *step.HopDrop {
	d := &step.HopDrop{Reason: ReasonNoAnswer, Says: t.Space + " got it and did not answer", Object: a.nameOf(t.P.Dst)}
	if a.Ask.Proto == "icmp" || t.leg != legRequest {
		return d
	}
	x, ok := a.ask(Question{Kind: askListener, Space: t.Space, Proto: t.P.Proto, Dst: t.P.Dst, DPort: t.P.DPort})
	if ok && x.Found == "" {
		d.Reason, d.Says = ReasonNoListener, fmt.Sprintf("nobody listens on port %d in %s", t.P.DPort, t.Space)
		d.Evidence = []string{"ss -l: no socket for " + t.P.to().String()}
	} else if ok {
		d.Evidence = []string{"ss -l: " + x.Found + " is open"}
	}
	return d
}
