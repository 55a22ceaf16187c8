package trace

import "golang.org/x/sys/unix"

// program is a classic BPF program (see socket(7), SO_ATTACH_FILTER) as a tree
// of decisions: it loads little, for it runs for every packet at every link.
// Branches of the tree that are the same lead to one place. X is where the
// header begins that is looked at.
type program struct {
	code  []unix.SockFilter
	leads map[string][]int // by place, the jumps that lead there
}

const (
	loadHalf = unix.BPF_LD | unix.BPF_H | unix.BPF_ABS

	// The same behind X.
	wordAt = unix.BPF_LD | unix.BPF_W | unix.BPF_IND
	halfAt = unix.BPF_LD | unix.BPF_H | unix.BPF_IND
	byteAt = unix.BPF_LD | unix.BPF_B | unix.BPF_IND

	// Where the kernel keeps what it knows of a packet (see filter.h).
	atProtocol = 0xfffff000 // SKF_AD_OFF + SKF_AD_PROTOCOL
	atHatype   = 0xfffff01c // SKF_AD_OFF + SKF_AD_HATYPE
)

// messageLen is how much is read of what goes from or to the port of DNS, where all
// is taken: more than answers have without fragments.
const messageLen = 2048

// snapLen is how much of a packet is read: the headers of one within another,
// both of IPv6, and the token.
const snapLen = 320

// The offsets of a packet's load, of IP headers without options.
const (
	ipLen    = 20
	ip6Len   = 40
	udpLen   = 8
	etherLen = 14
	vxlanLen = udpLen + 8 + etherLen
)

var tokenBits = uint32(tokenWord[0])<<24 | uint32(tokenWord[1])<<16 | uint32(tokenWord[2])<<8 | uint32(tokenWord[3])

func (p *program) do(code uint16, k uint32) {
	p.code = append(p.code, unix.SockFilter{Code: code, K: k})
}

func (p *program) give(n uint32) { p.do(unix.BPF_RET|unix.BPF_K, n) }

// take ends with the packet if what was loaded is want.
func (p *program) take(want uint32) {
	p.code = append(p.code, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: want})
	p.give(snapLen)
}

// takeAny ends with the packet if what was loaded has one of these bits.
func (p *program) takeAny(bits uint32) {
	p.code = append(p.code, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, Jf: 1, K: bits})
	p.give(snapLen)
}

// when goes through a subtree if what was loaded is want; it must end there.
func (p *program) when(want uint32, subtree func()) {
	// The way past the subtree may be too long for a conditional jump.
	p.code = append(p.code, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: want})
	p.lead("")
	subtree()
	p.place("")
}

// lead goes on at a place that comes later.
func (p *program) lead(place string) {
	if p.leads == nil {
		p.leads = map[string][]int{}
	}
	p.leads[place] = append(p.leads[place], len(p.code))
	p.do(unix.BPF_JMP|unix.BPF_JA, 0)
}

// place is where a lead goes on; of those without a name it is the last one's.
func (p *program) place(name string) {
	at := p.leads[name]
	if name == "" {
		p.leads[name], at = at[:len(at)-1], at[len(at)-1:]
	}
	for _, i := range at {
		p.code[i].K = uint32(len(p.code) - i - 1)
	}
}

// begin sets X.
func (p *program) begin(at uint32) { p.do(unix.BPF_LDX|unix.BPF_IMM, at) }

// behind moves X, and keeps what was loaded.
func (p *program) behind(n uint32) {
	p.do(unix.BPF_ST, 0)
	p.do(unix.BPF_MISC|unix.BPF_TXA, 0)
	p.do(unix.BPF_ALU|unix.BPF_ADD|unix.BPF_K, n)
	p.do(unix.BPF_MISC|unix.BPF_TAX, 0)
	p.do(unix.BPF_LD|unix.BPF_MEM, 0)
}

// filter takes the packets of probes, whatever they are wrapped in, and those by
// which neighbours find each other. With all it takes those that begin or end a
// connection too, and every datagram: what is needed to follow flows of strangers.
func (t Ports) filter(all bool) []unix.SockFilter {
	p := &program{}
	p.do(loadHalf, atHatype)
	for _, kind := range []uint32{arphrdEther, arphrdLoopback} {
		p.when(kind, func() { p.begin(etherLen); p.lead("frame") })
	}
	p.begin(0) // a link without headers of its own
	p.place("frame")
	p.do(loadHalf, atProtocol)
	p.take(unix.ETH_P_ARP)
	p.header(0, unix.ETH_P_IP, unix.ETH_P_IPV6, "packet")
	p.place("packet")
	p.transport("wrapped", t, all)
	p.place("wrapped")
	p.transport("", Ports{}, all)
	return p.code
}

// header reads the header of IP that is n behind X, and goes on at a place with
// the number of the protocol loaded, and X where that begins. Loaded is what
// says the family.
func (p *program) header(n, four, six uint32, place string) {
	for _, x := range []struct{ family, protocol, length uint32 }{{four, 9, ipLen}, {six, 6, ip6Len}} {
		p.when(x.family, func() {
			p.do(byteAt, n+x.protocol)
			p.behind(n + x.length)
			p.lead(place)
		})
	}
	p.give(0)
}

// transport is the tree for what is behind a header of IP. Packets that are
// wrapped in it are looked for on these ports, and go on at a place.
func (p *program) transport(within string, wrapped Ports, all bool) {
	p.when(unix.IPPROTO_TCP, func() {
		p.do(halfAt, 4)
		p.take(keyMagic)
		p.do(halfAt, 8)
		p.take(keyMagic)
		if all {
			p.do(byteAt, 13)
			p.takeAny(flagSYN | flagRST)
		}
		p.give(0)
	})
	p.when(unix.IPPROTO_UDP, func() {
		p.do(halfAt, 2)
		for _, port := range wrapped.VXLAN {
			p.when(uint32(port), func() {
				p.do(halfAt, vxlanLen-2)
				p.header(vxlanLen, unix.ETH_P_IP, unix.ETH_P_IPV6, within)
			})
		}
		for _, port := range wrapped.UDP {
			p.when(uint32(port), func() {
				p.do(byteAt, udpLen)
				p.do(unix.BPF_ALU|unix.BPF_RSH|unix.BPF_K, 4)
				p.header(udpLen, 4, 6, within)
			})
		}
		if all {
			for _, at := range []uint32{0, 2} {
				p.do(halfAt, at)
				p.when(dnsPort, func() { p.give(messageLen) })
			}
			p.give(snapLen)
			return
		}
		p.token(udpLen)
		p.give(0)
	})
	p.when(unix.IPPROTO_ICMP, func() { p.message(ipLen, all) })
	p.when(unix.IPPROTO_ICMPV6, func() {
		p.do(byteAt, 0)
		p.take(solicitation6)
		p.take(advertisement6)
		p.message(ip6Len, all)
	})
	p.give(0)
}

// message is the tree for ICMP, whose errors quote a packet with such a header.
func (p *program) message(header uint32, all bool) {
	if all {
		p.give(snapLen)
		return
	}
	p.do(wordAt, 8)
	p.take(tokenBits)
	p.do(halfAt, 8+header+4)
	p.take(keyMagic)
	p.token(8 + header + udpLen)
	p.give(0)
}

// token takes a load that begins with a token or with a DNS question that has
// one. A load that is too short for it is not taken.
func (p *program) token(at uint32) {
	p.do(wordAt, at)
	p.take(tokenBits)
	p.do(wordAt, at+dnsLabelAt)
	p.take(tokenBits)
}
