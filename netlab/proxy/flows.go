package proxy

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
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

// MatchConntrackFlow picks the flows to be deleted.
func (f *frontends) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	return flow.Forward.Protocol == unix.IPPROTO_UDP &&
		f.stale(addrPort(flow.Forward.DstIP, flow.Forward.DstPort), addrPort(flow.Reverse.SrcIP, flow.Reverse.SrcPort))
}

func addrPort(ip net.IP, port uint16) netip.AddrPort {
	a, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(a.Unmap(), port)
}

// filter tells what of the flows it picked.
type filter struct {
	*frontends
	lines []string
}

func (f *filter) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	if !f.frontends.MatchConntrackFlow(flow) {
		return false
	}
	f.lines = append(f.lines, fmt.Sprintf("conntrack -D -p udp --orig-src %s --orig-port-src %d --orig-dst %s --orig-port-dst %d",
		flow.Forward.SrcIP, flow.Forward.SrcPort, flow.Forward.DstIP, flow.Forward.DstPort))
	return true
}

// forget deletes the stale flows of a node.
func forget(ctx context.Context, n *link.Net, f *frontends) error {
	if len(f.addrs) == 0 {
		return nil
	}
	start := time.Now()
	picked := &filter{frontends: f}
	err := n.Do(func() error {
		h, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
		if err != nil {
			return err
		}
		defer h.Close()
		_, err = h.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, picked)
		return err
	})
	for _, line := range picked.lines {
		n.Ran(ctx, line, "netlink", time.Since(start), 0)
	}
	if err != nil {
		return fmt.Errorf("forget UDP flows to endpoints that are gone: %w", err)
	}
	return nil
}
