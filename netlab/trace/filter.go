package trace

import "golang.org/x/sys/unix"

// program builds a classic BPF program (see socket(7), SO_ATTACH_FILTER) out of
// alternatives: a packet for which all tests of one alternative hold is taken.
type program struct {
	code []unix.SockFilter
}

// The beginning of offsets that count from the network header, whatever link
// header there is.
const netOffset = 0xfff00000 // SKF_NET_OFF

const (
	loadWord = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	loadHalf = unix.BPF_LD | unix.BPF_H | unix.BPF_ABS
	loadByte = unix.BPF_LD | unix.BPF_B | unix.BPF_ABS
)

// snapLen is how much of a packet is read: the headers of one within another,
// and the token.
const snapLen = 256

// test is: of what the load puts into the accumulator, the bits of mask are want.
type test struct {
	load       uint16
	at         uint32
	mask, want uint32
}

// half tests 16 bits at an offset in the IP packet, word 32, octet 8.
func half(at, want uint32) test  { return test{loadHalf, netOffset + at, 0, want} }
func word(at, want uint32) test  { return test{loadWord, netOffset + at, 0, want} }
func octet(at, want uint32) test { return test{loadByte, netOffset + at, 0, want} }

// masked tests some bits of an octet.
func masked(at, mask, want uint32) test { return test{loadByte, netOffset + at, mask, want} }

// protocol tests the packet's ethertype.
func protocol(kind uint32) test { return test{loadHalf, 0xfffff000, 0, kind} } // SKF_AD_OFF + SKF_AD_PROTOCOL

// or adds an alternative. If a packet is too short for a load it is not taken
// at all, so alternatives that look further come later.
func (p *program) or(tests ...test) {
	size := 1 // the return
	for _, t := range tests {
		size += t.size()
	}
	for _, t := range tests {
		p.code = append(p.code, unix.SockFilter{Code: t.load, K: t.at})
		if t.mask != 0 {
			p.code = append(p.code, unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: t.mask})
		}
		size -= t.size()
		p.code = append(p.code, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: uint8(size), K: t.want})
	}
	p.code = append(p.code, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: snapLen})
}

func (t test) size() int {
	if t.mask != 0 {
		return 3
	}
	return 2
}

func (p *program) end() []unix.SockFilter {
	return append(p.code, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0})
}

// The offsets of a packet's load, of IP headers without options.
const (
	ipLen    = 20
	udpLen   = 8
	etherLen = 14
	vxlanLen = udpLen + 8 + etherLen
)

var tokenBits = uint32(tokenWord[0])<<24 | uint32(tokenWord[1])<<16 | uint32(tokenWord[2])<<8 | uint32(tokenWord[3])

// filter takes the packets of probes, whatever they are wrapped in, and ARP.
// With all it takes those that begin or end a connection too, and every
// datagram: what is needed to follow flows of strangers.
func (p Ports) filter(all bool) []unix.SockFilter {
	var b program
	b.or(protocol(unix.ETH_P_ARP))
	if all {
		b.or(octet(9, unix.IPPROTO_TCP), masked(ipLen+13, flagSYN, flagSYN))
		b.or(octet(9, unix.IPPROTO_TCP), masked(ipLen+13, flagRST, flagRST))
		b.or(octet(9, unix.IPPROTO_ICMP))
		b.or(octet(9, unix.IPPROTO_UDP))
	}
	b.keyed(0)
	for _, port := range p.UDP {
		b.keyed(ipLen+udpLen, octet(9, unix.IPPROTO_UDP), half(ipLen+2, uint32(port)))
	}
	for _, port := range p.VXLAN {
		b.keyed(ipLen+vxlanLen, octet(9, unix.IPPROTO_UDP), half(ipLen+2, uint32(port)))
	}
	return b.end()
}

// keyed takes packets with a key whose IP header is at an offset.
func (p *program) keyed(at uint32, around ...test) {
	tcp, udp, icmp := octet(at+9, unix.IPPROTO_TCP), octet(at+9, unix.IPPROTO_UDP), octet(at+9, unix.IPPROTO_ICMP)
	load := at + ipLen
	with := func(tests ...test) { p.or(append(append([]test{}, around...), tests...)...) }
	with(tcp, half(load+4, keyMagic))
	with(tcp, half(load+8, keyMagic))
	with(icmp, masked(load, 0xf7, 0), word(load+8, tokenBits)) // echo: types 8 and 0
	with(icmp, half(load+8+ipLen+4, keyMagic))                 // in what an error quotes
	with(icmp, word(load+8+ipLen+8, tokenBits))
	with(udp, word(load+udpLen, tokenBits))
	with(icmp, word(load+8+ipLen+8+dnsLabelAt, tokenBits))
	with(udp, word(load+udpLen+dnsLabelAt, tokenBits))
}
