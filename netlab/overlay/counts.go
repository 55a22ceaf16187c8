package overlay

import "net/netip"

// Counts are the packets that a node's forwarder has carried since it began.
type Counts struct {
	Peers []PeerCounts
	// Packets that went no further: to a subnet that no node has, with no time
	// left to live, that were none of IPv4, that the kernel did not take.
	NoRoute, TTL, Bad, Unsent uint64
}

// PeerCounts are those to and from one node: packets, and bytes without the
// headers around them.
type PeerCounts struct {
	Node                 string
	IP                   netip.Addr
	Subnet               netip.Prefix
	OutPackets, OutBytes uint64
	InPackets, InBytes   uint64
}

func (f *forwarder) counts() *Counts {
	c := &Counts{NoRoute: f.dropped.noRoute.Load(), TTL: f.dropped.ttl.Load(), Bad: f.dropped.bad.Load(), Unsent: f.dropped.unsent.Load()}
	for _, r := range f.peers() {
		c.Peers = append(c.Peers, PeerCounts{
			Node: r.node, IP: r.ip, Subnet: r.subnet,
			OutPackets: r.out.packets.Load(), OutBytes: r.out.bytes.Load(),
			InPackets: r.in.packets.Load(), InBytes: r.in.bytes.Load(),
		})
	}
	return c
}
