package trace

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/klab-project/klab/core/step"
)

// Single is a container that belongs to no pod, on a network of its own as docker
// has them.
type Single struct {
	Space, Node string
	Mode        string       // "bridge", "overlay", "macvlan", "ipvlan", "none"
	Addr        netip.Prefix // its address, within its network; not valid: it has none
	Gateway     netip.Addr   // to whom it sends what is for others; not valid: to nobody
}

// The modes whose ways differ, and the bridge of the first.
const (
	modeBridge, modeOverlay, modeMacvlan, modeIpvlan = "bridge", "overlay", "macvlan", "ipvlan"

	dockerBridge = "docker0"
)

// onWire tells whether a container is beside its node, on the nodes' network.
func (s *Single) onWire() bool { return s.Mode == modeMacvlan || s.Mode == modeIpvlan }

// single is the container that a space is.
func (w *World) single(space string) *Single {
	return w.singleThat(func(s *Single) bool { return s.Space == space })
}

func (w *World) singleThat(is func(*Single) bool) *Single {
	for i := range w.Singles {
		if is(&w.Singles[i]) {
			return &w.Singles[i]
		}
	}
	return nil
}

// wired is the container that has an address of the nodes' network.
func (w *World) wired(a netip.Addr) *Single {
	return w.singleThat(func(s *Single) bool { return s.onWire() && s.Addr.Addr() == a })
}

// single is what a container does with a packet.
func (p *prediction) single(s *Single, began bool) string {
	to := p.dst.Addr()
	switch {
	case to == s.Addr.Addr():
		return p.arrives(s.Space)
	case !began:
		return p.ended(s.Space, &step.HopDrop{Reason: ReasonForwardOff, Says: fmt.Sprintf("%s is not to pass on packets that are for others", s.Space)})
	case !s.Addr.IsValid(), !s.Addr.Contains(to) && !s.Gateway.IsValid():
		return p.ended(s.Space, &step.HopDrop{Reason: ReasonNoRoute, Says: fmt.Sprintf("%s has no route to %s", s.Space, to)}, ReasonUnknown)
	case s.Mode == modeOverlay:
		return p.overlaid(s)
	case s.onWire():
		return p.fromWire(s)
	}
	h := hop{space: s.Space, dev: podLink, to: s.Node, mac: p.mac(s.Node, dockerBridge)}
	switch other := p.world.neighbour(s, to); {
	case !s.Addr.Contains(to):
		h.via = s.Gateway.String()
	case other != nil:
		h.mac = p.mac(other.Space, podLink)
	case to != s.Gateway:
		return p.ended(s.Space, nobodyHas(to))
	}
	return p.out(h)
}

// neighbour is the container of the same network that has an address: that of
// mode bridge ends with the node.
func (w *World) neighbour(of *Single, a netip.Addr) *Single {
	return w.singleThat(func(s *Single) bool {
		return s.Addr.Addr() == a && s.Mode == of.Mode && (s.Mode != modeBridge || s.Node == of.Node)
	})
}

func nobodyHas(a netip.Addr) *step.HopDrop {
	return &step.HopDrop{Reason: ReasonARP, Says: fmt.Sprintf("nobody has the address %s", a)}
}

// overlaid is over a bridge that is one with those of other nodes: nobody routes.
func (p *prediction) overlaid(s *Single) string {
	other := p.world.neighbour(s, p.dst.Addr())
	if other == nil {
		return p.ended(s.Space, nobodyHas(p.dst.Addr()))
	}
	mac := p.mac(other.Space, podLink)
	p.out(hop{space: s.Space, dev: podLink, to: s.Node, mac: mac})
	if from, to := p.world.node(s.Node), p.world.node(other.Node); from != nil && to != nil && from.Name != to.Name {
		here, there := p.wrapping(s), p.wrapping(other)
		outer := &step.HopOuter{Kind: "vxlan", Src: from.IP.String(), Dst: to.IP.String(), VNI: here.VNI}
		p.see(hop{mac: mac, fdb: to.IP.String()}, from.Name, here.Name, "out")
		p.out(hop{space: from.Name, dev: uplink, via: "?", to: to.Name, outer: outer})
		p.see(hop{}, to.Name, there.Name, "in")
	}
	return p.out(hop{space: other.Node, dev: p.portOf(other.Space), to: other.Space})
}

// wrapping is the VXLAN link by which a container's bridge is one with others.
func (p *prediction) wrapping(s *Single) Link {
	links := p.links(s.Node)
	port := linkOf(links, p.portOf(s.Space))
	i := slices.IndexFunc(links, func(l Link) bool { return port != nil && l.Kind == "vxlan" && l.Master == port.Master })
	if i < 0 {
		return Link{}
	}
	return links[i]
}

// fromWire is past the node that the container is on: its own card is on the same
// side of the node's, so the two do not hear each other.
func (p *prediction) fromWire(s *Single) string {
	to, w := p.dst.Addr(), p.world
	h := hop{space: s.Space, dev: podLink}
	other, host := w.wired(to), w.owner(to)
	switch {
	case !s.Addr.Contains(to):
		h.via, host = s.Gateway.String(), w.owner(s.Gateway)
	case other != nil && other.Node == s.Node:
		h.mac = p.mac(other.Space, podLink)
		p.see(h, s.Space, podLink, "out")
		if s.Mode == modeMacvlan { // whose card's taps see it, as macvlan_queue_xmit has it
			p.see(hop{}, s.Node, uplink, "in")
		}
		p.see(hop{}, other.Space, podLink, "in")
		return other.Space
	case other != nil:
		h.mac = p.mac(other.Space, podLink)
		p.see(h, s.Space, podLink, "out")
		return p.toWire(hop{space: s.Node, dev: uplink, via: "?"}, other)
	}
	if host == "" || host == s.Node {
		return p.ended(s.Space, nobodyHas(to))
	}
	h.mac = p.mac(host, uplink)
	p.see(h, s.Space, podLink, "out")
	return p.out(hop{space: s.Node, dev: uplink, via: "?", to: host})
}

// toWire takes the packet to a container on the nodes' network, by the card of
// its node.
func (p *prediction) toWire(h hop, s *Single) string {
	h.to = s.Node
	p.out(h)
	p.see(hop{}, s.Space, podLink, "in")
	return s.Space
}

// docker is the network of the node's containers that are behind its bridge; not
// valid if it has none.
func (p *prediction) docker(n *WorldNode, of netip.Addr) netip.Prefix {
	if l := linkOf(p.links(n.Name), dockerBridge); l != nil {
		for _, s := range l.Addrs {
			if net := parsePrefix(s).Masked(); net.Addr().Is4() == of.Is4() && !net.Addr().IsLinkLocalUnicast() {
				return net
			}
		}
	}
	return netip.Prefix{}
}

// network is that of the node whose packets a port of the node's may have to
// masquerade: the one that has the address behind the port.
func (p *prediction) network(n *WorldNode, of netip.Addr) netip.Prefix {
	if d := p.docker(n, of); d.IsValid() && d.Contains(of) {
		return d
	}
	return n.Subnet
}

// toSingle is where a node leads packets to containers; false if the address is
// none of theirs.
func (p *prediction) toSingle(n *WorldNode, to netip.Addr) (route, bool) {
	if d := p.docker(n, to); d.IsValid() && d.Contains(to) {
		s := p.world.singleThat(func(s *Single) bool { return s.Mode == modeBridge && s.Node == n.Name && s.Addr.Addr() == to })
		if s == nil {
			return route{drop: nobodyHas(to), also: []string{ReasonNoSuchPod, ReasonUnreachable}}, true
		}
		return route{dev: dockerBridge, single: s}, true
	}
	s := p.world.wired(to)
	switch {
	case s == nil:
		return route{}, false
	case s.Node == n.Name:
		return route{drop: &step.HopDrop{Reason: ReasonARP, Says: fmt.Sprintf("%s does not hear its own node %s: both are on the same side of the node's card", s.Space, n.Name)},
			also: []string{ReasonUnreachable}}, true
	}
	return route{dev: uplink, single: s}, true
}

// leaveTo takes the packet from a node to a container.
func (p *prediction) leaveTo(n *WorldNode, s *Single) string {
	mac := p.mac(s.Space, podLink)
	if s.onWire() {
		return p.toWire(hop{space: n.Name, dev: uplink, mac: mac}, s)
	}
	return p.out(hop{space: n.Name, dev: p.portOf(s.Space), route: dockerBridge, to: s.Space, mac: mac})
}
