package trace

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/klab-project/klab/core/step"
)

// Prediction is what should become of a packet if every part did what the API's
// objects say, and how what became of it compares with that. Hops are those
// that were to be, of the request and of its answer: links, translations, and
// the end. Differs is the number of the first hop of the way that is another,
// 0 if there is none.
type Prediction struct {
	step.PacketForecast
	Hops    []step.Hop
	Differs int

	kept *Kept // what the way tells of a Service that remembers its clients
}

// Kept is that a node led a client to an endpoint of a Service with
// sessionAffinity, to which the client keeps until Until.
type Kept struct {
	Node, Service string // the Service's port: "default/web:http"
	Client        netip.Addr
	To            netip.AddrPort
	Until         time.Time
}

// Predict compares a way with what the world says of it. Of the kernel it wants
// to know nothing but which links there are, and what their other ends are
// called. Where several endpoints or nodes are right, the one that was taken is
// predicted; kept narrows that. It is a pure function; like Assemble it wants
// the answers to what is missing.
//
// Links are compared except for bridges and loopbacks, which are passed in more
// than one manner; routes, entries and translations as far as the way has them.
func Predict(c *Capture, w Way, world *World, kept []Kept) (Prediction, []Question) {
	p := &prediction{Capture: c, asker: newAsker(c.Answers), world: world.of(c.Ask.To.Addr()), way: w, remembered: kept}
	for _, l := range c.Spaces {
		q := Question{Kind: askLinks, Space: l.Name}
		if _, ok := p.known[q]; !ok {
			p.known[q] = Answer{Question: q, Links: l.Links}
		}
	}
	if why := p.without(); why != "" {
		return Prediction{PacketForecast: step.PacketForecast{Verdict: step.NotPredicted, Why: why}}, p.missing
	}
	p.request()
	if p.end.drop == nil && p.why == "" {
		p.reply()
	}
	if p.why != "" {
		return Prediction{PacketForecast: step.PacketForecast{Verdict: step.NotPredicted, Why: p.why}}, p.missing
	}
	return p.compared(), p.missing
}

// singles begins the spaces of containers that belong to no pod.
const singles = "pod/containers/"

// prediction is a packet that goes its way in thought.
type prediction struct {
	*Capture
	*asker
	world      *World
	way        Way
	remembered []Kept

	leg      string
	src, dst netip.AddrPort // as it is at the moment
	nats     []nat          // what nodes did to the request, in order
	wants    []want
	among    []string
	end      ending // of the leg
	ends     [2]ending
	kept     *Kept
	affinity string // of a Service that remembers its clients, as PacketForecast has it
	why      string // there is no prediction after all
}

// want is a hop that is to be.
type want struct {
	step.Hop
	dev, via string // by what route it leaves; "": not said
	mac      string // to whom
	fdb      string // and on which node that is, inside of a tunnel
	was      string // of a translation: where the packet went before
}

// nat is what a node did to the request.
type nat struct {
	node             string
	srcWas, dstWas   netip.AddrPort
	srcIs, dstIs     netip.AddrPort
	among            []netip.AddrPort // of which dstIs is one
	service          string
	masked, affinity bool
}

// ending is where and how a leg ends. Without a drop somebody gets the packet.
type ending struct {
	space string
	drop  *step.HopDrop
	// also are other reasons for which it may end here: two rules that both turn
	// it away, of which either may come first.
	also []string
}

// without says why there is no prediction; "": there is one.
func (p *prediction) without() string {
	from := p.Ask.From
	switch {
	case p.world == nil && p.Ask.To.Addr().Is6():
		return step.UnpredictedFamily
	case p.world == nil:
		return step.UnpredictedAPI
	case slices.ContainsFunc(p.way.Hops, func(h step.Hop) bool {
		return strings.HasPrefix(h.NS, singles) && p.world.podAt(h.NS) == nil && p.world.single(h.NS) == nil
	}):
		return step.UnpredictedNetwork // a container's that is not known yet, or not any more
	case p.world.single(from) != nil:
	case strings.HasPrefix(from, "pod/"):
		pod := p.world.podAt(from)
		if pod == nil || p.world.node(pod.Node) == nil || len(pod.IPs) == 0 {
			return step.UnpredictedSender
		}
		if l := linkOf(p.links(from), podLink); l != nil && l.Kind != "veth" {
			return step.UnpredictedNetwork
		}
	case p.world.node(from) == nil && from != spaceGateway && from != spaceOutside && from != spaceControl:
		return step.UnpredictedSender
	}
	return ""
}

// farthest is how many hosts a packet passes at most.
const farthest = 32

// place is a host that has got the packet.
type place struct {
	space string
	began bool // it sends the packet itself
}

// request walks from the sender to wherever it ends.
func (p *prediction) request() {
	p.leg, p.dst = legRequest, p.Ask.To
	p.src = p.sender()
	p.walk(p.Ask.From)
	p.ends[0] = p.end
}

// reply walks back from where the request ended.
func (p *prediction) reply() {
	from := p.end.space
	p.leg, p.src, p.dst, p.end = legReply, p.dst, p.src, ending{}
	p.walk(from)
	p.ends[1] = p.end
}

func (p *prediction) walk(from string) {
	at := place{from, true}
	for range farthest {
		next := p.host(at)
		if next == "" {
			return
		}
		at = place{next, false}
	}
}

// sender is the address and port that the packet is to have first. The port,
// and which of its own addresses a node takes, is its kernel's choice.
func (p *prediction) sender() netip.AddrPort {
	seen := netip.AddrPort{}
	for _, h := range p.way.Hops {
		if h.Leg == legRequest {
			seen = endOf(h.Hdr.Src)
			break
		}
	}
	at := func(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a, seen.Port()) }
	from := p.Ask.From
	if p.Ask.Src.IsValid() {
		return at(p.Ask.Src)
	}
	if pod := p.world.podAt(from); pod != nil {
		for _, a := range pod.IPs {
			if a.Is4() == p.dst.Addr().Is4() {
				return at(a)
			}
		}
	}
	if s := p.world.single(from); s != nil {
		return at(s.Addr.Addr())
	}
	switch from {
	case spaceOutside:
		return at(p.world.Client)
	case spaceControl:
		return at(p.world.Control)
	case spaceGateway:
		if p.has(spaceGateway, seen.Addr()) {
			return seen
		}
		return at(p.world.Gateway)
	}
	n := p.world.node(from)
	switch {
	case seen.IsValid() && p.own(n, seen.Addr()):
		return seen
	case p.own(n, p.dst.Addr()):
		return at(p.dst.Addr())
	}
	return at(p.addressOn(n, p.routeOf(n, p.dst.Addr()).dev))
}

// endOf reads what a header says of an end, with or without port.
func endOf(s string) netip.AddrPort {
	if at, err := netip.ParseAddrPort(s); err == nil {
		return at
	}
	a, _ := netip.ParseAddr(s)
	return netip.AddrPortFrom(a, 0)
}

// host is what a host does with the packet; it returns the next one that gets
// it, or "" if it ends.
func (p *prediction) host(at place) string {
	if n := p.world.node(at.space); n != nil {
		return p.node(n, at.began)
	}
	to := p.dst.Addr()
	if at.began && to.IsLoopback() {
		return p.arrives(at.space)
	}
	if s := p.world.single(at.space); s != nil {
		return p.single(s, at.began)
	}
	switch {
	case strings.HasPrefix(at.space, "pod/"):
		pod := p.world.podAt(at.space)
		if pod != nil && (slices.Contains(pod.IPs, to) || to.IsLoopback()) {
			return p.arrives(at.space)
		}
		if pod == nil || !at.began {
			return p.ended(at.space, &step.HopDrop{Reason: ReasonForwardOff, Says: fmt.Sprintf("%s is not to pass on packets that are for others", at.space)})
		}
		return p.fromPod(at.space, pod)
	case at.space == spaceGateway:
		return p.gateway()
	case at.space == spaceControl:
		return p.fromControl()
	case at.space == spaceOutside && to == p.world.Client:
		return p.arrives(spaceOutside)
	case at.space == spaceOutside && at.began:
		return p.out(hop{space: spaceOutside, dev: uplink, via: "?", to: spaceGateway})
	}
	return p.ended(at.space, &step.HopDrop{Reason: ReasonNoRoute, Says: fmt.Sprintf("%s passes nothing on", at.space)})
}

func (p *prediction) arrives(space string) string {
	p.end = ending{space: space}
	return ""
}

func (p *prediction) ended(space string, d *step.HopDrop, also ...string) string {
	p.end = ending{space: space, drop: d, also: also}
	return ""
}

// Predict asks the kernel what the pure function of that name wants to know,
// and remembers what a Service that remembers its clients was seen to do.
func (t *Tracer) Predict(c *Capture, w Way) Prediction {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now() // affinity is kept by the kernel, which does not stand still
	t.kept = stillKept(t.kept, now, t.world)
	var p Prediction
	for range farthest {
		var missing []Question
		if p, missing = Predict(c, w, t.world, t.kept); len(missing) == 0 {
			break
		}
		for _, q := range missing {
			c.Answers = append(c.Answers, t.answer(q))
		}
	}
	if p.kept != nil {
		t.kept = keep(t.kept, *p.kept, now)
	}
	return p
}

// SetWorld says what is predicted from next; nil: nothing is.
func (t *Tracer) SetWorld(w *World) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.world = w
}
