package proxy

import (
	"context"
	"maps"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/netlab/link"
)

// frontends are where UDP packets to Services are sent, each with the endpoints
// that serve them. The kernel remembers for as long as packets come which
// endpoint a sender has, also when that is gone: such flows are forgotten.
type frontends struct {
	addrs map[netip.AddrPort][]netip.AddrPort
	ports map[uint16][]netip.AddrPort // NodePorts
}

func frontendsOf(s State) *frontends {
	f := &frontends{map[netip.AddrPort][]netip.AddrPort{}, map[uint16][]netip.AddrPort{}}
	if !slices.ContainsFunc(s.Services, Service.udp) {
		return f
	}
	backends := s.backends()
	for _, svc := range s.Services {
		for _, p := range svc.Ports {
			if p.Protocol != "UDP" {
				continue
			}
			serving := []netip.AddrPort{}
			for _, b := range backends[portID{svc.Namespace, svc.Name, p.Name, p.Protocol}] {
				if b.Serving {
					serving = append(serving, b.to)
				}
			}
			for _, addr := range slices.Concat([]netip.Addr{svc.ClusterIP}, svc.ExternalIPs, svc.LoadBalancerIPs) {
				f.addrs[netip.AddrPortFrom(addr, uint16(p.Port))] = serving
			}
			// The packets of others may have the same port: while nobody
			// serves it they are not told apart, and left alone.
			if p.NodePort != 0 && len(serving) > 0 {
				f.ports[uint16(p.NodePort)] = serving
			}
		}
	}
	return f
}

// udp is whether one of its ports is for datagrams.
func (s Service) udp() bool {
	return slices.ContainsFunc(s.Ports, func(p Port) bool { return p.Protocol == "UDP" })
}

func (f *frontends) equal(g *frontends) bool {
	return maps.EqualFunc(f.addrs, g.addrs, slices.Equal) && maps.EqualFunc(f.ports, g.ports, slices.Equal)
}

// stale tells whether a flow, by where it was sent and where its answers come
// from, leads to no endpoint.
func (f *frontends) stale(sent, answers netip.AddrPort) bool {
	if serving, ok := f.addrs[sent]; ok {
		return !slices.Contains(serving, answers)
	}
	serving, ok := f.ports[sent.Port()]
	return ok && !slices.Contains(serving, answers)
}

// forget lets a node's kernel forget the stale flows.
func forget(ctx context.Context, n *link.Net, f *frontends) error {
	if len(f.addrs) == 0 {
		return nil
	}
	return n.ForgetFlows(ctx, func(flow link.Flow) bool {
		return flow.Protocol == unix.IPPROTO_UDP && f.stale(flow.To, flow.Reply)
	})
}
