package trace

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/core/step"
)

// byPlace is for a packet that nothing speaks of any more: the place at which
// it was last seen, and one question, say why.
func (a *assembly) byPlace(end step.Hop) *step.HopDrop {
	var last *tapped
	for i := range a.taps {
		if a.taps[i].leg == end.Leg {
			last = &a.taps[i]
		}
	}
	return a.byDevice(last, a.beside(last))
}

// beside is byPlace as far as the devices themselves are innocent.
func (a *assembly) beside(last *tapped) *step.HopDrop {
	switch {
	case last == nil:
		return a.neverSent()
	case last.Out && last.link.Kind == "vxlan":
		return a.notWrapped(last)
	case last.Out:
		return a.notDelivered(last)
	case last.P.Outer != nil:
		return a.notUnwrapped(last)
	}
	return a.notPassedOn(last)
}

// links are a space's links as they are now.
func (a *assembly) links(space string) []Link {
	x, _ := a.ask(Question{Kind: askLinks, Space: space})
	return x.Links
}

func linkOf(list []Link, name string) *Link {
	for i := range list {
		if list[i].Name == name {
			return &list[i]
		}
	}
	return nil
}

// down tells of a link that is off, missing or without its other end.
func (a *assembly) down(space, name string) *step.HopDrop {
	if name == "" {
		return nil
	}
	list := a.links(space)
	if list == nil {
		return nil // it is not known yet
	}
	l := linkOf(list, name)
	switch {
	case l == nil:
		return &step.HopDrop{Reason: ReasonLinkDown, Says: fmt.Sprintf("%s has no link %s any more", space, name), Evidence: []string{"ip link show " + name + ": does not exist"}}
	case !l.Up:
		return &step.HopDrop{Reason: ReasonLinkDown, Says: fmt.Sprintf("the link %s of %s is down", name, space), Evidence: []string{name + ": state DOWN"}}
	case !l.Carrier:
		return &step.HopDrop{Reason: ReasonLinkDown, Says: fmt.Sprintf("the other end of the link %s of %s is down", name, space), Evidence: []string{name + ": NO-CARRIER"}}
	}
	return nil
}

// neverSent is for a packet that no link saw.
func (a *assembly) neverSent() *step.HopDrop {
	q := Question{Kind: askRoute, Space: a.Ask.From, Dst: a.Ask.To.Addr(), Src: a.Ask.Src}
	x, ok := a.ask(q)
	if !ok {
		return nil
	}
	if x.Route == nil {
		return a.unroutable(q, x, "")
	}
	if d := routeType(x, q); d != nil {
		return d
	}
	if d := a.down(a.Ask.From, x.Route.Dev); d != nil {
		return d
	}
	if l := linkOf(a.links(a.Ask.From), x.Route.Dev); l != nil && unix.Errno(a.Errno) == unix.EMSGSIZE {
		return &step.HopDrop{Reason: ReasonMTU, Says: fmt.Sprintf("it is too long for %s of %s, which takes %d bytes, and must not be cut", l.Name, a.Ask.From, l.MTU),
			Evidence: []string{fmt.Sprintf("%s: mtu %d", l.Name, l.MTU), a.Refusal}}
	}
	if d := a.unresolved(q, x); d != nil || a.Refusal == "" {
		return d
	}
	return &step.HopDrop{Reason: ReasonUnknown, Says: fmt.Sprintf("the kernel of %s would not send it", a.Ask.From), Evidence: []string{a.Refusal}}
}

// unroutable says what a question for a route was refused with.
func (a *assembly) unroutable(q Question, x Answer, in string) *step.HopDrop {
	asked := "ip route get " + q.Dst.String()
	if q.In != "" {
		asked += " from " + q.Src.String() + " iif " + q.In
	}
	evidence := []string{fmt.Sprintf("%s on %s: %s", asked, q.Space, unix.Errno(x.Errno).Error())}
	says := func(reason, what string) *step.HopDrop {
		return &step.HopDrop{Reason: reason, Says: fmt.Sprintf(what, q.Space, q.Dst), Evidence: evidence}
	}
	switch errno := unix.Errno(x.Errno); {
	case errno == unix.ENETUNREACH:
		return says(ReasonNoRoute, "%s has no route to %s")
	case errno == unix.EXDEV || errno == unix.EINVAL && a.strict(q):
		return &step.HopDrop{Reason: ReasonRPFilter, Evidence: evidence,
			Says: fmt.Sprintf("%s checks where packets come from: one from %s must not come in by %s, for answers would leave by another link", q.Space, q.Src, in)}
	case errno == unix.EINVAL:
		return says(ReasonBlackhole, "the route of %s to %s is a black hole")
	case errno == unix.EACCES:
		return says(ReasonProhibit, "the route of %s to %s is a prohibition")
	}
	return says(ReasonUnreachable, "the route of %s to %s says that it is unreachable")
}

// strict tells whether a space refuses packets that come in by a link by which
// the answer would not leave. Source: Documentation/networking/ip-sysctl.rst.
func (a *assembly) strict(q Question) bool {
	if q.In == "" || q.Dst.Is6() {
		return false
	}
	all, ok1 := a.ask(Question{Kind: askSysctl, Space: q.Space, Key: "net.ipv4.conf.all.rp_filter"})
	own, ok2 := a.ask(Question{Kind: askSysctl, Space: q.Space, Key: "net.ipv4.conf." + strings.ReplaceAll(q.In, ".", ":") + ".rp_filter"})
	back, ok3 := a.ask(Question{Kind: askRoute, Space: q.Space, Dst: q.Src})
	return ok1 && ok2 && ok3 && max(all.Found, own.Found) == "1" && (back.Route == nil || back.Route.Dev != q.In)
}

// routeType is for routes that lead nowhere on purpose.
func routeType(x Answer, q Question) *step.HopDrop {
	switch t := x.Route.Type; t {
	case "blackhole", "unreachable", "prohibit":
		return &step.HopDrop{Reason: t, Says: fmt.Sprintf("the route of %s to %s is of type %s", q.Space, q.Dst, t),
			Evidence: []string{fmt.Sprintf("%s %s table %s", t, x.Route.Dst, x.Route.Table)}}
	}
	return nil
}

// unresolved is for a next stop whose MAC nobody knows.
func (a *assembly) unresolved(q Question, x Answer) *step.HopDrop {
	next, via := q.Dst, x.Route.Via != ""
	if via {
		next, _ = netip.ParseAddr(x.Route.Via)
	}
	n, ok := a.ask(Question{Kind: askNeighbour, Space: q.Space, Dst: next, Dev: x.Route.Dev})
	if !ok || n.Found != "" && n.State != "FAILED" && n.State != "INCOMPLETE" {
		return nil
	}
	state := n.State
	if state == "" {
		state = "no entry"
	}
	d := &step.HopDrop{Reason: ReasonARP, Says: fmt.Sprintf("%s does not know the MAC of %s on %s", q.Space, next, x.Route.Dev),
		Evidence: []string{fmt.Sprintf("ip neigh get %s dev %s on %s: %s", next, x.Route.Dev, q.Space, state)}, Object: a.nameOf(next)}
	who := "ARP"
	if next.Is6() {
		d.Reason, who = ReasonND, "Neighbour Discovery"
	}
	if n := a.asked(q.Space, next); n > 0 {
		d.Evidence = append(d.Evidence, fmt.Sprintf("%s asked %d times who has %s; nobody answered", who, n, next))
	}
	if l := linkOf(a.spaceLinks(q.Space), x.Route.Dev); l != nil && l.Kind == "bridge" && !via && d.Object == nil {
		d.Reason = ReasonNoSuchPod
		d.Says = fmt.Sprintf("no pod has the address %s: %s looked for it on %s", next, q.Space, x.Route.Dev)
	}
	return d
}

func (a *assembly) spaceLinks(name string) []Link {
	if s := a.Capture.space(name); s != nil {
		return s.Links
	}
	return nil
}

// asked counts the questions of ARP from a space.
func (a *assembly) asked(space string, who netip.Addr) (n int) {
	for _, s := range a.Seen {
		if s.P.ARP == 1 && s.Space == space && s.Out && s.P.Dst == who && a.Capture.link(space, s.Index).Master == "" {
			n++
		}
	}
	return n
}

// notWrapped is for a packet that went into a VXLAN link and did not come out
// of the node.
func (a *assembly) notWrapped(t *tapped) *step.HopDrop {
	x, ok := a.ask(Question{Kind: askFDB, Space: t.Space, Key: t.P.DstMAC, Dev: t.link.Name})
	if !ok {
		return nil
	}
	if x.Found == "" {
		return &step.HopDrop{Reason: ReasonFDB, Says: fmt.Sprintf("%s on %s does not know which node has the MAC %s", t.link.Name, t.Space, t.P.DstMAC),
			Evidence: []string{fmt.Sprintf("bridge fdb show dev %s: no entry for %s", t.link.Name, t.P.DstMAC)}}
	}
	remote, _ := netip.ParseAddr(x.Found)
	q := Question{Kind: askRoute, Space: t.Space, Dst: remote}
	r, ok := a.ask(q)
	if !ok {
		return nil
	}
	if r.Route == nil {
		return a.unroutable(q, r, "")
	}
	if d := a.down(t.Space, r.Route.Dev); d != nil {
		return d
	}
	if d := a.unresolved(q, r); d != nil {
		return d
	}
	return nil
}

// notDelivered is for a packet that left by a link and was not seen behind it.
func (a *assembly) notDelivered(t *tapped) *step.HopDrop {
	if d := a.down(t.Space, t.link.Name); d != nil {
		return d
	}
	if t.link.Peer != "" {
		if d := a.down(t.link.PeerSpace, t.link.Peer); d != nil {
			return d
		}
		return &step.HopDrop{Reason: ReasonLinkLoss, Says: fmt.Sprintf("it left %s by %s and did not arrive at %s of %s, though both ends are up: the link loses packets", t.Space, t.link.Name, t.link.Peer, t.link.PeerSpace),
			Evidence: []string{"seen going out, not coming in"}}
	}
	if t.link.Kind == "bridge" {
		for _, i := range a.taps {
			if i.leg != t.leg || i.Space != t.Space || i.Out || i.link.Master != t.link.Name {
				continue
			}
			if d := a.hairpinOff(t.Space, i.link, t.P.Dst); d != nil {
				return d
			}
		}
		if d := a.wrongMAC(t.Space, t.link.Name, t.P.Dst); d != nil {
			return d
		}
		return &step.HopDrop{Reason: ReasonLinkLoss, Says: fmt.Sprintf("%s of %s has no port for %s", t.link.Name, t.Space, t.P.Dst)}
	}
	return &step.HopDrop{Reason: ReasonLinkLoss, Says: fmt.Sprintf("it left %s by %s, and nobody who is looked at got it", t.Space, t.link.Name)}
}

// wrongMAC is for a packet to an address behind a bridge of which the space
// believes that another MAC has it.
func (a *assembly) wrongMAC(space, bridge string, to netip.Addr) *step.HopDrop {
	e, ok := a.ask(Question{Kind: askNeighbour, Space: space, Dst: to, Dev: bridge})
	if !ok || e.Found == "" {
		return nil
	}
	for _, l := range a.links(space) {
		if l.Master != bridge || !a.owns(l.PeerSpace, to) {
			continue
		}
		far := linkOf(a.links(l.PeerSpace), l.Peer)
		if far == nil || far.MAC == e.Found {
			return nil
		}
		return &step.HopDrop{Reason: ReasonMAC, Object: a.nameOf(to), Says: fmt.Sprintf("%s sends packets for %s to the MAC %s, which nobody with that address has", space, to, e.Found),
			Evidence: []string{fmt.Sprintf("ip neigh get %s dev %s on %s: %s", to, bridge, space, e.Found+" "+e.State),
				fmt.Sprintf("ip link show %s on %s: %s", far.Name, l.PeerSpace, far.MAC)}}
	}
	return nil
}

// hairpinOff is for a packet that a bridge would have to send back by the port
// that it came from.
func (a *assembly) hairpinOff(space string, port Link, dst netip.Addr) *step.HopDrop {
	x, ok := a.ask(Question{Kind: askHairpin, Space: space, Dev: port.Name})
	if !ok || x.Found != "false" || !a.owns(port.PeerSpace, dst) {
		return nil
	}
	return &step.HopDrop{Reason: ReasonHairpin, Object: a.nameOf(dst),
		Says:     fmt.Sprintf("%s would have to send it back by %s, by which it came; hairpin mode of that port is off", port.Master, port.Name),
		Evidence: []string{"bridge -d link show dev " + port.Name + ": hairpin off"}}
}

// notUnwrapped is for a packet that came inside another and did not come out of it.
func (a *assembly) notUnwrapped(t *tapped) *step.HopDrop {
	if !a.owns(t.Space, t.P.Outer.Dst) {
		d := a.notPassedOn(t)
		if d == nil {
			d = &step.HopDrop{Reason: ReasonLinkLoss, Says: fmt.Sprintf("%s did not pass on the packet around it", t.Space)}
		}
		return d
	}
	list := a.links(t.Space)
	if list == nil {
		return nil
	}
	for _, l := range list {
		if l.unwraps(t.P.Outer.VNI, t.P.Outer.Dst) && t.P.Outer.Kind == "vxlan" || l.Kind == "tun" && t.P.Outer.Kind == "udp" {
			if !l.Up {
				return &step.HopDrop{Reason: ReasonVXLAN, Says: fmt.Sprintf("%s of %s is down: nobody takes the packet out of the one around it", l.Name, t.Space), Evidence: []string{l.Name + ": state DOWN"}}
			}
			return &step.HopDrop{Reason: ReasonVXLAN, Says: fmt.Sprintf("%s of %s is up and did not take the packet", l.Name, t.Space),
				Evidence: []string{fmt.Sprintf("inner destination MAC %s, MAC of %s %s", t.P.DstMAC, l.Name, l.MAC)}}
		}
	}
	return &step.HopDrop{Reason: ReasonVXLAN, Says: fmt.Sprintf("%s has no link that takes packets out of %s packets", t.Space, strings.ToUpper(t.P.Outer.Kind)),
		Evidence: []string{"ip -d link: no such link with VNI " + strconv.Itoa(t.P.Outer.VNI)}}
}
