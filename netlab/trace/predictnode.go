package trace

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/policy"
	"github.com/klab-project/klab/netlab/proxy"
)

// node is what a node does with the packet: Services, policies, its route, and
// on the way out masquerading; of an answer it undoes what it did.
func (p *prediction) node(n *WorldNode, began bool) string {
	was := nat{node: n.Name, srcWas: p.src, dstWas: p.dst}
	led := proxy.Led{}
	if p.leg == legRequest {
		led = p.serve(n, began, &was)
	} else {
		p.undo(n)
	}
	to := p.dst.Addr()
	if p.own(n, to) && (led.Verdict == proxy.Passed || led.Verdict == proxy.Sent) {
		p.note(was)
		return p.arrives(n.Name)
	}
	turned := turnedAway(led, n)
	if p.leg == legRequest && !began {
		if d := p.policies(n); d != nil {
			var also []string
			if turned != nil {
				also = []string{turned.Reason, ReasonReject, ReasonRule}
			}
			return p.ended(n.Name, d, also...)
		}
	}
	if turned != nil {
		return p.ended(n.Name, turned, ReasonReject, ReasonRule, ReasonServicePort, ReasonNoListener)
	}
	r := p.routeOf(n, to)
	if r.drop != nil {
		return p.ended(n.Name, r.drop, r.also...)
	}
	if p.leg == legRequest {
		p.masquerade(n, r.dev, &was)
		p.note(was)
	}
	return p.leave(n, r)
}

// serve is what a node's rules for Services and host ports make of the packet.
func (p *prediction) serve(n *WorldNode, began bool, was *nat) proxy.Led {
	protocol := strings.ToUpper(p.Ask.Proto)
	led := p.world.Services.Lead(n.Node, n.Mode, proxy.Packet{
		From: p.src.Addr(), To: p.dst, Protocol: protocol, Local: began, Here: p.own(n, p.dst.Addr()) && !p.dst.Addr().IsLoopback()})
	if led.Verdict == proxy.Passed && led.Service == nil && p.own(n, p.dst.Addr()) {
		for _, h := range p.world.HostPorts {
			if h.Node == n.Name && h.Protocol == protocol && h.At.Port() == p.dst.Port() && (!h.At.Addr().IsValid() || h.At.Addr() == p.dst.Addr()) {
				led = proxy.Led{Verdict: proxy.Sent, Endpoints: []netip.AddrPort{h.To}, Masquerade: p.network(n, h.To.Addr()).Contains(p.src.Addr()) || p.src.Addr().IsLoopback()}
			}
		}
	}
	if led.Verdict != proxy.Sent {
		return led
	}
	was.among, was.masked = led.Endpoints, led.Masquerade
	if led.Service != nil {
		was.service = serviceName(led)
		was.affinity = led.Service.Affinity > 0
		p.remember(n, led, was)
	}
	p.dst = p.chosen(was.among)
	w := p.want(n.Name)
	w.Layer, w.Verdict, w.Object, w.was = step.LayerRule, string(proxy.Sent), serviceObject(led.Service), p.text(was.dstWas)
	p.wants = append(p.wants, w)
	for _, a := range was.among {
		if len(was.among) > 1 {
			p.among = append(p.among, a.String())
		}
	}
	was.masked = was.masked || p.src.Addr() == p.dst.Addr()
	return led
}

func serviceName(led proxy.Led) string {
	name := led.Service.Namespace + "/" + led.Service.Name
	if led.Port.Name != "" {
		name += ":" + led.Port.Name
	}
	return name
}

func serviceObject(s *proxy.Service) *step.Object {
	if s == nil {
		return nil
	}
	return &step.Object{Resource: "services", Namespace: s.Namespace, Name: s.Name}
}

// chosen is the endpoint to which the packet was really led, if that is right.
func (p *prediction) chosen(among []netip.AddrPort) netip.AddrPort {
	for _, h := range p.way.Hops {
		if to, err := netip.ParseAddrPort(h.Hdr.Dst); err == nil && h.Leg == legRequest && slices.Contains(among, to) {
			return to
		}
	}
	return among[0]
}

// turnedAway is that a node refuses or drops packets to a Service.
func turnedAway(led proxy.Led, n *WorldNode) *step.HopDrop {
	if led.Verdict == proxy.Passed || led.Verdict == proxy.Sent {
		return nil
	}
	d := &step.HopDrop{Reason: ReasonNoEndpoints, Object: serviceObject(led.Service)}
	switch {
	case led.Service == nil:
		d.Reason, d.Says = ReasonServicePort, fmt.Sprintf("no Service has that address, and %s drops it", n.Name)
	case led.Port.Protocol == "":
		d.Reason, d.Says = ReasonServicePort, fmt.Sprintf("Service %s has no such port", led.Service.Namespace+"/"+led.Service.Name)
	case led.Verdict == proxy.Rejected:
		d.Says = fmt.Sprintf("Service %s has no endpoints", serviceName(led))
	default:
		d.Says = fmt.Sprintf("Service %s has no endpoints that %s may send it to", serviceName(led), n.Name)
	}
	return d
}

// policies is what keeps the packet from passing a node that its sender or its
// receiver is on.
func (p *prediction) policies(n *WorldNode) *step.HopDrop {
	from, to := p.world.pod(p.src.Addr()), p.world.pod(p.dst.Addr())
	v := policy.Allowed(p.world.Policies, policy.Packet{
		From: p.src.Addr(), To: p.dst.Addr(), Protocol: strings.ToUpper(p.Ask.Proto), Port: int(p.dst.Port())})
	for _, side := range []struct {
		policy.Side
		pod *policy.Pod
	}{{v.Egress, from}, {v.Ingress, to}} {
		if side.pod == nil || side.pod.Node != n.Name || side.Allowed || len(side.Policies) == 0 {
			continue
		}
		namespace, name, _ := strings.Cut(side.Policies[0], "/")
		return &step.HopDrop{Reason: ReasonNetworkPolicy, Says: v.Why(),
			Object: &step.Object{Resource: "networkpolicies.networking.k8s.io", Namespace: namespace, Name: name}}
	}
	return nil
}

// masquerade gives the packet the node's address where a Service wants it, or
// where a pod's packet leaves the cluster.
func (p *prediction) masquerade(n *WorldNode, dev string, was *nat) {
	to, from := p.dst.Addr(), p.src.Addr()
	leaves := n.Subnet.IsValid() && n.Subnet.Contains(from) && !p.world.Network.Contains(to) && !to.IsMulticast()
	if d := p.docker(n, from); d.IsValid() && d.Contains(from) && !d.Contains(to) && !to.IsMulticast() {
		leaves = true
	}
	if was.masked || leaves {
		p.src = p.masked(n, p.addressOn(n, dev))
	}
}

// masked is the address and port that a node gave the packet, if it is one of
// its own; with --random-fully nobody knows the port before.
func (p *prediction) masked(n *WorldNode, otherwise netip.Addr) netip.AddrPort {
	for _, h := range p.way.Hops {
		at := endOf(h.Hdr.Src)
		if h.Leg == legRequest && h.NS == n.Name && h.Layer == step.LayerLink && h.Dir == "out" && at.Addr() != p.src.Addr() && p.own(n, at.Addr()) {
			return at
		}
	}
	return netip.AddrPortFrom(otherwise, 0)
}

// note remembers what a node did to the request, for the answer.
func (p *prediction) note(was nat) {
	if was.srcIs, was.dstIs = p.src, p.dst; was.srcIs != was.srcWas || was.dstIs != was.dstWas {
		p.nats = append(p.nats, was)
	}
}

// undo gives an answer the addresses that its receiver knows.
func (p *prediction) undo(n *WorldNode) {
	for i := len(p.nats) - 1; i >= 0; i-- {
		if x := p.nats[i]; x.node == n.Name && x.dstIs == p.src && x.srcIs == p.dst {
			p.src, p.dst, p.nats = x.dstWas, x.srcWas, slices.Delete(slices.Clone(p.nats), i, i+1)
			return
		}
	}
}

// addressOn is the address that a node's own packets have that leave by a link.
func (p *prediction) addressOn(n *WorldNode, dev string) netip.Addr {
	for _, l := range p.links(n.Name) {
		if l.Name != dev {
			continue
		}
		for _, s := range l.Addrs {
			if a := parsePrefix(s).Addr(); a.Is4() == n.IP.Is4() && !a.IsLinkLocalUnicast() {
				return a
			}
		}
	}
	return n.IP
}

// route is where a node leads packets to an address.
type route struct {
	dev, via string
	to       *WorldNode  // the node that has the pod
	pod      *policy.Pod // on this node
	single   *Single
	host     string // in the underlay
	drop     *step.HopDrop
	also     []string
}

// routeOf follows from the leases: what is for a pod of another node goes as the
// backend says, what is for nobody that is known to the gateway.
func (p *prediction) routeOf(n *WorldNode, to netip.Addr) route {
	if r, ok := p.toSingle(n, to); ok {
		return r
	}
	peer := p.world.subnetOf(to)
	switch {
	case peer != nil && peer.Name == n.Name:
		return p.toPod(n, to)
	case peer != nil:
		if dev := tunnel(n.Backend, to.Is6()); dev != "" {
			r := route{dev: dev, to: peer}
			if n.Backend == backendVXLAN {
				r.via = peer.Subnet.Addr().String()
			}
			return r
		}
		return route{dev: uplink, via: peer.IP.String(), host: peer.Name}
	case n.Backend == backendUDP && p.world.Network.Contains(to):
		return route{drop: &step.HopDrop{Reason: ReasonUnreachable, Says: fmt.Sprintf("no node's subnet has %s", to)}, also: []string{ReasonNoRoute, ReasonLinkLoss, ReasonUnknown}}
	case p.world.owner(to) != "":
		return route{dev: uplink, host: p.world.owner(to)}
	case p.world.Underlay.Contains(to):
		return route{drop: &step.HopDrop{Reason: ReasonARP, Says: fmt.Sprintf("nobody has the address %s", to)}, also: []string{ReasonUnreachable}}
	}
	return route{dev: uplink, via: p.world.Gateway.String(), host: spaceGateway}
}

// toPod is to an address of the node's own pods.
func (p *prediction) toPod(n *WorldNode, to netip.Addr) route {
	pod := p.world.pod(to)
	if pod == nil || pod.Node != n.Name {
		return route{dev: podBridge, drop: p.nobody(to), also: []string{ReasonARP, ReasonNoRoute, ReasonUnreachable, ReasonBlackhole, ReasonUnknown}}
	}
	r := route{dev: podBridge, pod: pod}
	if port := linkOf(p.links(n.Name), p.portOf(podSpace(pod))); port != nil {
		r.dev = cmp.Or(port.Master, port.Name)
	}
	return r
}

// leave takes the packet out of a node by its route.
func (p *prediction) leave(n *WorldNode, r route) string {
	switch {
	case r.single != nil:
		return p.leaveTo(n, r.single)
	case r.pod != nil:
		space := podSpace(r.pod)
		return p.out(hop{space: n.Name, dev: p.portOf(space), route: r.dev, to: space, mac: p.mac(space, podLink)})
	case r.to != nil:
		return p.through(n, r)
	}
	return p.out(hop{space: n.Name, dev: uplink, via: r.via, to: r.host, mac: p.mac(r.host, uplink)})
}

// through takes the packet inside another one to a node.
func (p *prediction) through(n *WorldNode, r route) string {
	outer := &step.HopOuter{Kind: "udp", Src: n.IP.String(), Dst: r.to.IP.String()}
	h := hop{space: n.Name, via: r.via, to: r.to.Name, fdb: r.to.IP.String()}
	if n.Backend == backendVXLAN {
		outer.Kind, outer.VNI = "vxlan", 1
		h.mac = p.mac(r.to.Name, r.dev)
		if l := linkOf(p.links(n.Name), r.dev); l != nil {
			outer.VNI = l.VNI
		}
	}
	p.see(h, n.Name, r.dev, "out")
	p.out(hop{space: n.Name, dev: uplink, via: "?", to: r.to.Name, outer: outer})
	p.see(hop{}, r.to.Name, r.dev, "in")
	return r.to.Name
}
