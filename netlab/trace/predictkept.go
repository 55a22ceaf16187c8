package trace

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/proxy"
)

// remember narrows the endpoints of a Service with sessionAffinity to the one
// that its client had before, and notes which one it has now. What the node's
// kernel knew of the client decides; where it cannot be asked, what other packets
// did.
func (p *prediction) remember(n *WorldNode, led proxy.Led, was *nat) {
	if !was.affinity {
		return
	}
	known, sure := p.kernelKeeps(n, led)
	was.among = known
	k := Kept{Node: n.Name, Service: was.service, Client: p.src.Addr()}
	for _, x := range p.remembered {
		if !sure && x.Node == k.Node && x.Service == k.Service && x.Client == k.Client && slices.Contains(was.among, x.To) && x.Until.After(time.Unix(0, p.Began)) {
			was.among = []netip.AddrPort{x.To}
		}
	}
	k.To = p.chosen(was.among)
	if p.affinity = step.AffinityOpen; len(was.among) == 1 && len(led.Endpoints) > 1 {
		p.affinity = step.AffinityKept
	}
	for _, h := range p.way.Hops { // of a packet that came nowhere nothing is known
		if h.Leg == legRequest && endOf(h.Hdr.Dst) == k.To {
			k.Until = time.Unix(0, p.Began).Add(time.Duration(led.Service.Affinity) * time.Second)
			p.kept = &k
			return
		}
	}
}

// kernelKeeps are the endpoints to which the node's rules may lead the client: the
// first one in their order that has it, or any. Sure says that nothing else was
// possible.
func (p *prediction) kernelKeeps(n *WorldNode, led proxy.Led) (among []netip.AddrPort, surely bool) {
	surely = true
	for _, to := range led.Endpoints {
		q, ok := clientsOf(n.Mode, n.Name, led.Service, led.Port, to)
		a := Answer{}
		if ok && q.Kind == askRecent {
			a, _ = p.ask(q)
		} else if ok { // now it has the client in any case
			a = p.known[q]
		}
		switch p.keeps(a, p.src.Addr(), led.Service.Affinity) {
		case yes:
			return append(among, to), surely
		case chance:
			among, surely = append(among, to), false
		}
	}
	return led.Endpoints, surely
}

// keep replaces what was remembered of the same client and Service.
func keep(list []Kept, k Kept, now time.Time) []Kept {
	list = slices.DeleteFunc(list, func(x Kept) bool {
		return x.Node == k.Node && x.Service == k.Service && x.Client == k.Client
	})
	if k.Until.Before(now) {
		return list
	}
	return append(list, k)
}

// stillKept leaves out what is over, and what a change of the Service's
// endpoints or of the node's mode may have ended.
func stillKept(list []Kept, now time.Time, w *World) []Kept {
	return slices.DeleteFunc(list, func(k Kept) bool {
		of := w.of(k.Client)
		return now.After(k.Until) || of == nil || of.node(k.Node) == nil || !of.leadsTo(k)
	})
}

// leadsTo tells whether a Service still has an endpoint and sessionAffinity.
func (w *World) leadsTo(k Kept) bool {
	namespace, rest, _ := strings.Cut(k.Service, "/")
	name, _, _ := strings.Cut(rest, ":")
	return slices.ContainsFunc(w.Services.Services, func(s proxy.Service) bool {
		return s.Namespace == namespace && s.Name == name && s.Affinity > 0
	}) && slices.ContainsFunc(w.Services.Slices, func(s proxy.Slice) bool {
		return s.Namespace == namespace && s.Service == name && slices.ContainsFunc(s.Endpoints, func(e proxy.Endpoint) bool { return e.IP == k.To.Addr() && e.Ready })
	})
}
