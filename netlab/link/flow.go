package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Flow is a connection that the kernel tracks: where its packets came from and
// were sent to, and where answers come from. Protocol is the IP protocol, such
// as unix.IPPROTO_UDP.
type Flow struct {
	Protocol        uint8
	From, To, Reply netip.AddrPort
}

// ForgetFlows lets the kernel forget the flows that stale picks: the next
// packet of each is led anew by the rules that there are then.
func (n *Net) ForgetFlows(ctx context.Context, stale func(Flow) bool) error {
	f := &flowFilter{stale: stale}
	err := n.Do(func() error {
		h, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
		if err != nil {
			return err
		}
		defer h.Close()
		_, err4 := h.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, f)
		_, err6 := h.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET6, f)
		return errors.Join(err4, err6)
	})
	for _, p := range f.picked {
		n.Ran(ctx, fmt.Sprintf("conntrack -D -p %d --orig-src %s --sport %d --orig-dst %s --dport %d",
			p.Protocol, p.From.Addr(), p.From.Port(), p.To.Addr(), p.To.Port()), "netlink", 0, 0)
	}
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) { // new flows came meanwhile: they are not stale
		return fmt.Errorf("conntrack -D: %w", err)
	}
	return nil
}

// flowFilter is what netlink asks of each flow whether it is to be deleted.
type flowFilter struct {
	stale  func(Flow) bool
	picked []Flow
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (f *flowFilter) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	at := func(ip net.IP, port uint16) netip.AddrPort { return netip.AddrPortFrom(addr(ip), port) }
	one := Flow{
		Protocol: flow.Forward.Protocol,
		From:     at(flow.Forward.SrcIP, flow.Forward.SrcPort), To: at(flow.Forward.DstIP, flow.Forward.DstPort),
		Reply: at(flow.Reverse.SrcIP, flow.Reverse.SrcPort),
	}
	if !f.stale(one) {
		return false
	}
	f.picked = append(f.picked, one)
	return true
}
