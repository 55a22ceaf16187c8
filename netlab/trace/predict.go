package trace

import (
	"net/netip"
	"slices"

	"github.com/klab-project/klab/core/step"
)

// Predict says which links a request should pass, from configuration alone: the
// nodes' routes and their entries for other nodes, and where the cluster says
// that a Service leads. Differs is the number of the first hop of the way that
// is another, 0 if there is none. It is a pure function; like Assemble it wants
// the answers to what is missing.
//
// It is compared at links between namespaces: bridges and loopbacks are passed
// in more than one manner.
func Predict(c *Capture, w Way, names Names) (hops []step.Hop, differs int, missing []Question) {
	p := &prediction{Capture: c, asker: newAsker(c.Answers), names: names, to: c.Ask.To}
	if names != nil {
		service, port, endpoints := names.Endpoints(c.Ask.To, c.Ask.Proto)
		if service != nil && port && len(endpoints) > 0 {
			p.endpoint = chosen(endpoints, w)
		}
		p.nowhere = service != nil && len(endpoints) == 0
	}
	p.walk()
	number(p.hops)
	return p.hops, p.compare(w), p.missing
}

// chosen is the endpoint that the packet was really led to, if it is one.
func chosen(endpoints []netip.AddrPort, w Way) netip.AddrPort {
	for _, h := range w.Hops {
		if to, err := netip.ParseAddrPort(h.Hdr.Dst); err == nil && h.Leg == legRequest && slices.Contains(endpoints, to) {
			return to
		}
	}
	return endpoints[0]
}

type prediction struct {
	*Capture
	*asker
	names    Names
	to       netip.AddrPort // where the packet is led at the moment
	endpoint netip.AddrPort // to which a node translates it; not valid: to none
	nowhere  bool           // a Service without endpoints: the first node refuses the packet
	hops     []step.Hop
	kinds    []string // of the hops' links
}

// farthest is how many namespaces a packet passes at most.
const farthest = 32

func (p *prediction) walk() {
	space := p.Ask.From
	for range farthest {
		if p.endpoint.IsValid() && p.isNode(space) {
			p.to, p.endpoint = p.endpoint, netip.AddrPort{}
		}
		if p.nowhere && p.isNode(space) {
			return
		}
		links := p.links(space)
		if links == nil || owner(links, p.to.Addr()) {
			return
		}
		if space = p.leave(space, p.to.Addr(), nil); space == "" {
			return
		}
	}
}

// leave takes the packet, or the one around it, to the next namespace.
func (p *prediction) leave(space string, dst netip.Addr, outer *step.HopOuter) string {
	x, ok := p.ask(Question{Kind: askRoute, Space: space, Dst: dst})
	if !ok || x.Route == nil || x.Route.Type != "unicast" {
		return ""
	}
	next := dst
	if via, err := netip.ParseAddr(x.Route.Via); err == nil {
		next = via
	}
	dev := linkOf(p.links(space), x.Route.Dev)
	if dev == nil {
		return ""
	}
	p.see(space, *dev, "out", outer)
	switch dev.Kind {
	case "vxlan":
		return p.through(space, *dev, p.remote(space, dev.Name, next))
	case "tun", "tuntap":
		return p.through(space, *dev, p.nodeAddr(p.nodeOf(dst)))
	case "bridge":
		return p.port(space, dev.Name, next, outer)
	}
	return p.cross(*dev, next, outer)
}

// cross takes the packet over a pair of links; on a bridge's port to where the
// bridge leads it.
func (p *prediction) cross(dev Link, next netip.Addr, outer *step.HopOuter) string {
	links := p.links(dev.PeerSpace)
	in := linkOf(links, dev.Peer)
	if in == nil {
		return ""
	}
	p.see(dev.PeerSpace, *in, "in", outer)
	if in.Master == "" || owner(links, next) {
		return dev.PeerSpace
	}
	return p.port(dev.PeerSpace, in.Master, next, outer)
}

// port takes the packet out of the port of a bridge behind which an address is.
func (p *prediction) port(space, bridge string, next netip.Addr, outer *step.HopOuter) string {
	wanted := p.spaceOf(next)
	for _, l := range p.links(space) {
		if l.Master != bridge || l.PeerSpace == "" || wanted != "" && l.PeerSpace != wanted {
			continue
		}
		far := p.links(l.PeerSpace)
		if in := linkOf(far, l.Peer); in != nil && owner(far, next) {
			p.see(space, l, "out", outer)
			p.see(l.PeerSpace, *in, "in", outer)
			return l.PeerSpace
		}
	}
	return ""
}

// through takes the packet inside another one to a node.
func (p *prediction) through(space string, dev Link, remote netip.Addr) string {
	if !remote.IsValid() {
		return ""
	}
	outer := &step.HopOuter{Kind: "udp", Dst: remote.String()}
	if dev.Kind == "vxlan" {
		outer.Kind, outer.VNI = "vxlan", dev.VNI
	}
	for range farthest {
		links := p.links(space)
		if links == nil {
			return ""
		}
		if owner(links, remote) {
			break
		}
		if space = p.leave(space, remote, outer); space == "" {
			return ""
		}
	}
	for _, l := range p.links(space) {
		if l.Kind == dev.Kind && (dev.Kind != "vxlan" || l.unwraps(dev.VNI, remote)) {
			p.see(space, l, "in", nil)
			return space
		}
	}
	return ""
}

// remote is the node behind the next stop on a VXLAN link: by the link's
// entries, or else by the cluster's names.
func (p *prediction) remote(space, dev string, next netip.Addr) netip.Addr {
	n, _ := p.ask(Question{Kind: askNeighbour, Space: space, Dst: next, Dev: dev})
	if n.Found != "" {
		f, _ := p.ask(Question{Kind: askFDB, Space: space, Key: n.Found, Dev: dev})
		if at, err := netip.ParseAddr(f.Found); err == nil {
			return at
		}
	}
	if p.names != nil {
		if o := p.names.Address(next); o != nil && o.Resource == "nodes" {
			return p.nodeAddr(o.Name)
		}
	}
	return netip.Addr{}
}

// nodeAddr is a node's address in the nodes' network: that of its uplink.
func (p *prediction) nodeAddr(node string) netip.Addr {
	if l := linkOf(p.links(node), "eth0"); l != nil && len(l.Addrs) > 0 {
		return parsePrefix(l.Addrs[0]).Addr()
	}
	return netip.Addr{}
}

// spaceOf is the namespace that has an address, as far as names tell.
func (p *prediction) spaceOf(a netip.Addr) string {
	if p.names == nil {
		return ""
	}
	if o := p.names.Address(a); o != nil && o.Resource == "pods" {
		return "pod/" + o.Namespace + "/" + o.Name
	}
	return ""
}

// nodeOf is the node of the pod that has an address.
func (p *prediction) nodeOf(a netip.Addr) string {
	space := p.spaceOf(a)
	for _, s := range p.All {
		if s.Name == space || space == "" && s.Pod != "" && owner(p.links(s.Name), a) {
			return s.Node
		}
	}
	return ""
}

func (p *prediction) isNode(space string) bool {
	return slices.ContainsFunc(p.All, func(s Space) bool { return s.Name == space && s.Node != "" && s.Pod == "" })
}

func (p *prediction) links(space string) []Link {
	x, _ := p.ask(Question{Kind: askLinks, Space: space})
	return x.Links
}

func owner(links []Link, a netip.Addr) bool {
	return a.IsLoopback() || slices.ContainsFunc(links, func(l Link) bool {
		return slices.ContainsFunc(l.Addrs, func(s string) bool { return parsePrefix(s).Addr() == a })
	})
}

func (p *prediction) see(space string, l Link, dir string, outer *step.HopOuter) {
	h := step.Hop{Leg: legRequest, NS: space, Layer: step.LayerLink, Iface: l.Name, Dir: dir, Outer: outer,
		Hdr: step.HopHeader{Dst: p.to.String(), Proto: p.Ask.Proto}, Confidence: confInferred}
	for _, s := range p.All {
		if s.Name == space {
			h.Node, h.Pod = s.Node, s.Pod
		}
	}
	if l.Peer != "" {
		h.Peer = l.PeerSpace + " " + l.Peer
	}
	p.hops, p.kinds = append(p.hops, h), append(p.kinds, l.Kind)
}

// compare finds the first hop of the way that is not as predicted.
func (p *prediction) compare(w Way) int {
	i, end := 0, 0
	for _, h := range w.Hops {
		if h.Layer == step.LayerDrop && h.Leg == legRequest {
			end = h.Seq
			break
		}
		if h.Leg != legRequest || h.Attempt > 1 {
			continue
		}
		if end = h.Seq; h.Layer != step.LayerLink || h.Iface == "lo" || p.bridge(h) {
			continue
		}
		for i < len(p.hops) && p.kinds[i] == "bridge" {
			i++
		}
		if i == len(p.hops) || p.hops[i].NS != h.NS || p.hops[i].Iface != h.Iface || p.hops[i].Dir != h.Dir || !sameAddr(p.hops[i].Hdr.Dst, h.Hdr.Dst) {
			return h.Seq
		}
		i++
	}
	if i < len(p.hops) {
		return end // it ended on its way
	}
	return 0
}

func (p *prediction) bridge(h step.Hop) bool {
	l := linkOf(p.links(h.NS), h.Iface)
	return l != nil && l.Kind == "bridge"
}

// sameAddr compares what may or may not have a port.
func sameAddr(a, b string) bool { return addrIn(a) == addrIn(b) }

// Predict asks the kernel what the pure function of that name wants to know.
func (t *Tracer) Predict(c *Capture, w Way) (hops []step.Hop, differs int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for range farthest {
		var missing []Question
		if hops, differs, missing = Predict(c, w, t.names); len(missing) == 0 {
			break
		}
		for _, q := range missing {
			c.Answers = append(c.Answers, t.answer(q))
		}
	}
	return hops, differs
}
