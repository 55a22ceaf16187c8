package trace

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/policy"
	"github.com/klab-project/klab/netlab/proxy"
)

// hop is how a packet leaves a host: by which link, to which host, in what.
type hop struct {
	space, dev string
	via        string // the route's gateway; "": none, "?": not said
	route      string // the route's link, if that is not dev
	mac        string
	fdb        string
	to         string // the host
	outer      *step.HopOuter
}

// out takes the packet over a pair of links to the next host, in the underlay
// through the switch between them.
func (p *prediction) out(h hop) string {
	p.see(h, h.space, h.dev, "out")
	space, peer := p.peer(h.space, h.dev)
	in := hop{outer: h.outer}
	if space == spaceUnderlay {
		p.see(in, space, peer, "in")
		far, port := p.peer(h.to, uplink)
		if far != spaceUnderlay {
			port = ""
		}
		p.see(in, spaceUnderlay, port, "out")
		space, peer = h.to, uplink
	}
	if space == "" {
		space = h.to
	}
	p.see(in, space, peer, "in")
	return space
}

// peer is the other end of a link; without a name if there is no such link.
func (p *prediction) peer(space, dev string) (far, peer string) {
	if l := linkOf(p.links(space), dev); l != nil {
		return l.PeerSpace, l.Peer
	}
	return "", ""
}

// portOf is a node's end of a pod's pair of links.
func (p *prediction) portOf(pod string) string {
	_, port := p.peer(pod, podLink)
	return port
}

func (p *prediction) mac(space, dev string) string {
	if l := linkOf(p.links(space), dev); l != nil {
		return l.MAC
	}
	return ""
}

func (p *prediction) links(space string) []Link {
	x, _ := p.ask(Question{Kind: askLinks, Space: space})
	return x.Links
}

// see notes a link that is to be passed.
func (p *prediction) see(h hop, space, dev, dir string) {
	w := p.want(space)
	w.Layer, w.Iface, w.Dir, w.Outer = step.LayerLink, dev, dir, h.outer
	if far, peer := p.peer(space, dev); peer != "" {
		w.Peer = far + " " + peer
	}
	if dir == "out" {
		w.dev, w.via, w.mac, w.fdb = dev, h.via, h.mac, h.fdb
		if h.route != "" {
			w.dev = h.route
		}
		if h.outer != nil {
			w.dev = ""
		}
		if w.dev != "" {
			w.Route = &step.HopRoute{Type: "unicast", Dev: w.dev}
			if h.via != "" && h.via != "?" {
				w.Route.Via = h.via
			}
		}
	}
	p.wants = append(p.wants, w)
}

// want is a hop in a space with the packet as it is.
func (p *prediction) want(space string) want {
	w := want{Hop: step.Hop{Leg: p.leg, NS: space, Confidence: confInferred,
		Hdr: step.HopHeader{Src: p.text(p.src), Dst: p.text(p.dst), Proto: p.Ask.Proto}}}
	for _, s := range p.All {
		if s.Name == space {
			w.Node, w.Pod = s.Node, s.Pod
		}
	}
	return w
}

// text is an end of the packet; of ICMP and where no port is known without one.
func (p *prediction) text(a netip.AddrPort) string {
	if a.Port() == 0 {
		return a.Addr().String()
	}
	return a.String()
}

// fromPod is how a pod sends: to its neighbours itself, to others over the
// node. Without a bridge all are others.
func (p *prediction) fromPod(space string, from *policy.Pod) string {
	to, n := p.dst.Addr(), p.world.node(from.Node)
	if n == nil || !n.Subnet.IsValid() {
		p.why = step.UnpredictedSender
		return ""
	}
	port := p.portOf(space)
	bridge := ""
	if l := linkOf(p.links(n.Name), port); l != nil {
		bridge = l.Master
	}
	h := hop{space: space, dev: podLink, to: n.Name}
	switch {
	case bridge == "" && n.Backend == backendBGP:
		h.via, h.mac = routedGateway, p.mac(n.Name, port)
		if to.Is6() {
			h.via = routedGateway6
		}
	case n.Subnet.Contains(to) && !p.own(n, to):
		other := p.world.pod(to)
		if other == nil {
			return p.ended(space, p.nobody(to), ReasonARP)
		}
		h.mac = p.mac(podSpace(other), podLink)
		if l := linkOf(p.links(n.Name), p.portOf(podSpace(other))); l != nil && l.Master != bridge {
			h.mac = p.mac(n.Name, bridge) // the node answers for pods that have no bridge
		}
	default:
		h.mac = p.mac(n.Name, bridge)
		if !n.Subnet.Contains(to) {
			h.via = n.bridge().String()
		}
	}
	return p.out(h)
}

// nobody is that no pod has an address.
func (p *prediction) nobody(a netip.Addr) *step.HopDrop {
	return &step.HopDrop{Reason: ReasonNoSuchPod, Says: fmt.Sprintf("no pod has the address %s", a)}
}

// gateway is what the router between the nodes and the outside does. It knows
// nothing of pods.
func (p *prediction) gateway() string {
	to := p.dst.Addr()
	w := p.world
	if to == w.Gateway || w.Outside.Contains(to) && to != w.Client && p.has(spaceGateway, to) {
		return p.arrives(spaceGateway)
	}
	if nodes, ok := w.balanced(to); ok {
		if len(nodes) == 0 {
			return p.ended(spaceGateway, &step.HopDrop{Reason: ReasonUnreachable, Says: fmt.Sprintf("no node takes packets to %s", to)}, ReasonNoRoute)
		}
		node := p.taken(nodes)
		return p.out(hop{space: spaceGateway, dev: uplink, via: "?", to: node})
	}
	switch s := w.wired(to); {
	case s != nil:
		return p.toWire(hop{space: spaceGateway, dev: uplink, mac: p.mac(s.Space, podLink)}, s)
	case to == w.Client:
		return p.out(hop{space: spaceGateway, dev: "eth1", to: spaceOutside, mac: p.mac(spaceOutside, uplink)})
	case w.owner(to) != "":
		return p.out(hop{space: spaceGateway, dev: uplink, to: w.owner(to), mac: p.mac(w.owner(to), uplink)})
	case w.Underlay.Contains(to) || w.Outside.Contains(to):
		return p.ended(spaceGateway, &step.HopDrop{Reason: ReasonARP, Says: fmt.Sprintf("nobody has the address %s", to)}, ReasonUnreachable)
	}
	for i := range w.Services.Services {
		s := &w.Services.Services[i]
		if s.ClusterIP == to && p.asks(s) {
			return p.ended(spaceGateway, &step.HopDrop{Reason: ReasonNoRoute, Object: serviceObject(s),
				Says: fmt.Sprintf("only nodes translate the address of Service %s, and it came past them", s.Namespace+"/"+s.Name)}, ReasonUnreachable)
		}
		if s.ClusterIP == to {
			return p.ended(spaceGateway, &step.HopDrop{Reason: ReasonServicePort, Object: serviceObject(s),
				Says: fmt.Sprintf("Service %s has no port %d of %s, so no node translates its address", s.Namespace+"/"+s.Name, p.dst.Port(), strings.ToUpper(p.Ask.Proto))}, ReasonNoRoute, ReasonUnreachable)
		}
	}
	return p.ended(spaceGateway, &step.HopDrop{Reason: ReasonNoRoute, Says: fmt.Sprintf("%s has no route to %s", spaceGateway, to)}, ReasonUnreachable, ReasonServicePort)
}

// asks tells whether the packet is for a port that a Service has.
func (p *prediction) asks(s *proxy.Service) bool {
	return slices.ContainsFunc(s.Ports, func(port proxy.Port) bool {
		return strings.EqualFold(port.Protocol, p.Ask.Proto) && port.Port == int(p.dst.Port())
	})
}

// has tells whether a link of a space has an address.
func (p *prediction) has(space string, a netip.Addr) bool { return owner(p.links(space), a) }

// own tells whether an address is a node's own.
func (p *prediction) own(n *WorldNode, a netip.Addr) bool { return n.own(a) || p.has(n.Name, a) }

// taken is which of several nodes the packet was really sent to; the first if
// it was sent to none of them.
func (p *prediction) taken(nodes []string) string {
	for _, h := range p.way.Hops {
		if h.Leg == p.leg && slices.Contains(nodes, h.NS) {
			return h.NS
		}
	}
	return nodes[0]
}

// fromControl is how the control plane sends, which knows the nodes' subnets.
func (p *prediction) fromControl() string {
	to := p.dst.Addr()
	h := hop{space: spaceControl, dev: uplink, to: p.world.owner(to)}
	switch n := p.world.subnetOf(to); {
	case to == p.world.Control:
		return p.arrives(spaceControl)
	case h.to != "":
	case p.world.wired(to) != nil:
		h.mac = p.mac(p.world.wired(to).Space, podLink)
		return p.toWire(h, p.world.wired(to))
	case n != nil:
		h.to, h.via = n.Name, n.IP.String()
	case p.world.Underlay.Contains(to):
		return p.ended(spaceControl, &step.HopDrop{Reason: ReasonARP, Says: fmt.Sprintf("nobody has the address %s", to)})
	default:
		h.to, h.via = spaceGateway, p.world.Gateway.String()
	}
	h.mac = p.mac(h.to, uplink)
	return p.out(h)
}
