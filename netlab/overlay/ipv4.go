package overlay

import (
	"encoding/binary"
	"net/netip"
)

// ipv4 is an IPv4 packet. (RFC 791)
type ipv4 []byte

const ipv4Header = 20

// valid tells whether the other methods may be called.
func (p ipv4) valid() bool {
	return len(p) >= ipv4Header && p[0]>>4 == 4 && p.header() >= ipv4Header && p.header() <= len(p)
}

func (p ipv4) header() int     { return int(p[0]&0x0f) * 4 }
func (p ipv4) dst() netip.Addr { return netip.AddrFrom4([4]byte(p[16:20])) }

// age takes one from the time to live; false if none is left. The checksum is
// changed by what changed. (RFC 1624)
func (p ipv4) age() bool {
	if p[8] <= 1 {
		return false
	}
	p[8]--
	sum := uint32(binary.BigEndian.Uint16(p[10:])) + 0x0100
	binary.BigEndian.PutUint16(p[10:], uint16(sum+sum>>16))
	return true
}

// unreachable is the ICMP message from own that the network of p's destination
// cannot be reached; nil if p is itself an ICMP error, or no first fragment. (RFC 1122, 3.2.2)
func (p ipv4) unreachable(own netip.Addr) []byte {
	const icmp, quoted, netUnreachable = 1, 8, 3
	inner := p[:min(len(p), p.header()+quoted)]
	if binary.BigEndian.Uint16(p[6:])&0x1fff != 0 {
		return nil
	}
	if p[9] == icmp {
		if len(p) <= p.header() {
			return nil
		}
		if kind := p[p.header()]; kind != 0 && kind != 8 { // echo is all that is no error
			return nil
		}
	}
	m := make([]byte, ipv4Header+8+len(inner))
	m[0], m[8], m[9] = 0x45, 64, icmp
	binary.BigEndian.PutUint16(m[2:], uint16(len(m)))
	copy(m[12:], own.AsSlice())
	copy(m[16:], p[12:16])
	binary.BigEndian.PutUint16(m[10:], checksum(m[:ipv4Header]))
	body := m[ipv4Header:]
	body[0] = netUnreachable // code 0: network
	copy(body[8:], inner)
	binary.BigEndian.PutUint16(body[2:], checksum(body))
	return m
}

// checksum is the Internet checksum. (RFC 1071)
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
