package trace

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// Packet is a packet of IPv4 or IPv6 as it was seen, or a message by which
// neighbours find each other.
type Packet struct {
	Src    netip.Addr `json:"src"`
	Dst    netip.Addr `json:"dst"`
	Proto  uint8      `json:"proto,omitempty"`
	SPort  uint16     `json:"sport,omitempty"`
	DPort  uint16     `json:"dport,omitempty"`
	TTL    uint8      `json:"ttl,omitempty"`
	ID     uint32     `json:"id,omitempty"`  // of IPv6 the flow label: the sender's kernel gives each connection, and what it sends again, another
	Len    int        `json:"len,omitempty"` // of the IP packet
	DF     bool       `json:"df,omitempty"`  // nobody may cut it
	Seq    uint32     `json:"seq,omitempty"`
	Ack    uint32     `json:"ack,omitempty"`
	Flags  uint8      `json:"flags,omitempty"` // of TCP
	Type   uint8      `json:"type,omitempty"`  // of ICMP
	Code   uint8      `json:"code,omitempty"`
	MTU    uint32     `json:"mtu,omitempty"`    // of ICMP "fragmentation needed" and "packet too big"
	Ident  uint16     `json:"ident,omitempty"`  // of an echo
	Token  Key        `json:"token,omitempty"`  // in the load
	Answer bool       `json:"answer,omitempty"` // a DNS message that is an answer
	Load   uint32     `json:"load,omitempty"`   // a sum of the beginning of a datagram's load
	Head   uint16     `json:"head,omitempty"`   // the first two bytes of that load: of DNS its ID
	// Message is the load of a datagram from or to the port of DNS, unless it is a
	// probe's.
	Message []byte `json:"message,omitempty"`
	SrcMAC  string `json:"srcMAC,omitempty"`
	DstMAC  string `json:"dstMAC,omitempty"`

	Outer  *Packet `json:"outer,omitempty"`  // the packet whose load this one is
	Kind   string  `json:"kind,omitempty"`   // of an outer packet: "vxlan", "udp"
	VNI    int     `json:"vni,omitempty"`    // of an outer packet
	Quoted *Packet `json:"quoted,omitempty"` // what an ICMP error is about
	ARP    uint16  `json:"arp,omitempty"`    // of ARP, or of IPv6 Neighbour Discovery: 1: who has Dst; 2: Src is at SrcMAC
}

// The flags of TCP.
const (
	flagFIN = 1 << iota
	flagSYN
	flagRST
	flagPSH
	flagACK
)

// Ports are the UDP ports on which packets are the load of others.
type Ports struct {
	VXLAN []uint16 // default 8472
	UDP   []uint16 // the load is an IP packet: default 8285
}

// parseFrame reads what a tap saw; ok is false for what is neither IP nor ARP.
func (p Ports) parseFrame(b []byte, ether bool) (*Packet, bool) {
	var src, dst string
	if ether {
		if len(b) < 14 {
			return nil, false
		}
		kind := binary.BigEndian.Uint16(b[12:])
		dst, src = net.HardwareAddr(b[:6]).String(), net.HardwareAddr(b[6:12]).String()
		if kind == unix.ETH_P_ARP {
			return parseARP(b[14:], src, dst)
		}
		if kind != unix.ETH_P_IP && kind != unix.ETH_P_IPV6 {
			return nil, false
		}
		b = b[14:]
	}
	k, ok := p.parseIP(b)
	if !ok {
		return nil, false
	}
	if k.Outer == nil {
		k.SrcMAC, k.DstMAC = src, dst
	} else {
		k.Outer.SrcMAC, k.Outer.DstMAC = src, dst
	}
	return k, true
}

// parseIP reads a packet of either family; of one that carries another the
// result is the inner one, with its Outer.
func (p Ports) parseIP(b []byte) (*Packet, bool) {
	k, load := parseHeader(b)
	if k == nil || len(load) < 8 {
		return nil, false
	}
	switch k.Proto {
	case unix.IPPROTO_TCP:
		k.tcp(load)
	case unix.IPPROTO_UDP:
		k.SPort, k.DPort = binary.BigEndian.Uint16(load), binary.BigEndian.Uint16(load[2:])
		if inner, ok := p.unwrap(k, load[8:]); ok {
			return inner, true
		}
		k.datagram(load[8:])
	case unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6:
		k.message(load, p)
	}
	return k, true
}

// parseHeader reads the header of a packet, and returns what is behind it; nil
// if it is none. Headers of extension of IPv6 are not read: what has them has no
// protocol that is followed.
func parseHeader(b []byte) (k *Packet, load []byte) {
	switch {
	case len(b) >= ipLen && b[0]>>4 == 4:
		k = &Packet{
			Src: netip.AddrFrom4([4]byte(b[12:16])), Dst: netip.AddrFrom4([4]byte(b[16:20])),
			Proto: b[9], TTL: b[8], ID: uint32(binary.BigEndian.Uint16(b[4:])), Len: int(binary.BigEndian.Uint16(b[2:])), DF: b[6]&0x40 != 0,
		}
		head := int(b[0]&15) * 4
		if head < ipLen || len(b) < head {
			return nil, nil
		}
		return k, b[head:]
	case len(b) >= ip6Len && b[0]>>4 == 6:
		k = &Packet{
			Src: netip.AddrFrom16([16]byte(b[8:24])), Dst: netip.AddrFrom16([16]byte(b[24:40])),
			Proto: b[6], TTL: b[7], ID: binary.BigEndian.Uint32(b) & 0xfffff, Len: ip6Len + int(binary.BigEndian.Uint16(b[4:])), DF: true,
		}
		return k, b[ip6Len:]
	}
	return nil, nil
}

func (k *Packet) tcp(b []byte) {
	k.SPort, k.DPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	k.Seq = binary.BigEndian.Uint32(b[4:])
	if len(b) >= 14 { // what ICMP quotes may be shorter
		k.Ack, k.Flags = binary.BigEndian.Uint32(b[8:]), b[13]&0x1f
	}
}

func (k *Packet) datagram(load []byte) {
	var dns bool
	if k.Token, dns = tokenIn(load); dns {
		k.Answer = load[2]&0x80 != 0
	}
	if len(load) >= 2 {
		k.Head = binary.BigEndian.Uint16(load)
	}
	sum := uint32(2166136261) // FNV-1a
	for _, c := range load[:min(len(load), 64)] {
		sum = (sum ^ uint32(c)) * 16777619
	}
	k.Load = sum
	if k.dns() && k.Token == 0 {
		k.Message = slices.Clone(load)
	}
}

// dns tells whether a datagram goes from or to the port of DNS.
func (k *Packet) dns() bool { return k.SPort == dnsPort || k.DPort == dnsPort }

// unwrap reads the packet that is k's load.
func (p Ports) unwrap(k *Packet, load []byte) (*Packet, bool) {
	for _, port := range p.VXLAN {
		if k.DPort == port && len(load) > 8 && load[0]&8 != 0 {
			inner, ok := p.parseFrame(load[8:], true)
			if ok {
				k.Kind, k.VNI = "vxlan", int(binary.BigEndian.Uint32(load[4:])>>8)
				inner.Outer = k
			}
			return inner, ok
		}
	}
	for _, port := range p.UDP {
		if k.DPort == port {
			inner, ok := p.parseIP(load)
			if ok {
				k.Kind, inner.Outer = "udp", k
			}
			return inner, ok
		}
	}
	return nil, false
}

// outermost is the packet that the link carries.
func (k *Packet) outermost() *Packet {
	for k.Outer != nil {
		k = k.Outer
	}
	return k
}

// from and to are the packet's ends, without ports where there are none.
func (k *Packet) from() netip.AddrPort { return netip.AddrPortFrom(k.Src, k.SPort) }
func (k *Packet) to() netip.AddrPort   { return netip.AddrPortFrom(k.Dst, k.DPort) }
