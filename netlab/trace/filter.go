package trace

import "golang.org/x/sys/unix"

// program is a classic BPF program (see socket(7), SO_ATTACH_FILTER) as a tree
// of decisions: it loads little, for it runs for every packet at every link.
type program struct {
	code []unix.SockFilter
}

const (
	loadWord = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	loadHalf = unix.BPF_LD | unix.BPF_H | unix.BPF_ABS
	loadByte = unix.BPF_LD | unix.BPF_B | unix.BPF_ABS

	// Where the kernel keeps what it knows of a packet (see filter.h).
	atProtocol = 0xfffff000 // SKF_AD_OFF + SKF_AD_PROTOCOL
	atHatype   = 0xfffff01c // SKF_AD_OFF + SKF_AD_HATYPE

	// netOffset is the beginning of offsets from the network header, whatever
	// link header there is. Such loads are slow.
	netOffset = 0xfff00000 // SKF_NET_OFF
)

// snapLen is how much of a packet is read: the headers of one within another,
// and the token.
const snapLen = 256

// The offsets of a packet's load, of IP headers without options.
const (
	ipLen    = 20
	udpLen   = 8
	etherLen = 14
	vxlanLen = udpLen + 8 + etherLen
)

var tokenBits = uint32(tokenWord[0])<<24 | uint32(tokenWord[1])<<16 | uint32(tokenWord[2])<<8 | uint32(tokenWord[3])

func (p *program) load(code uint16, at uint32) {
	p.code = append(p.code, unix.SockFilter{Code: code, K: at})
}

func (p *program) give(n uint32) {
	p.code = append(p.code, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: n})
}

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
	p.code = append(p.code, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: want},
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA})
	at := len(p.code)
	subtree()
	p.code[at-1].K = uint32(len(p.code) - at)
}

// filter takes the packets of probes, whatever they are wrapped in, and ARP.
// With all it takes those that begin or end a connection too, and every
// datagram: what is needed to follow flows of strangers.
func (t Ports) filter(all bool) []unix.SockFilter {
	p := &program{}
	p.load(loadHalf, atProtocol)
	p.take(unix.ETH_P_ARP)
	p.when(unix.ETH_P_IP, func() {
		p.load(loadHalf, atHatype)
		for _, kind := range []uint32{arphrdEther, arphrdLoopback} {
			p.when(kind, func() { p.packet(etherLen, t, all) })
		}
		p.packet(netOffset, t, all)
	})
	p.give(0)
	return p.code
}

// packet is the tree for an IP packet at an offset. Wrapped packets are looked
// for on these ports.
func (p *program) packet(at uint32, wrapped Ports, all bool) {
	load := at + ipLen
	p.load(loadByte, at+9)
	p.when(unix.IPPROTO_TCP, func() {
		p.load(loadHalf, load+4)
		p.take(keyMagic)
		p.load(loadHalf, load+8)
		p.take(keyMagic)
		if all {
			p.load(loadByte, load+13)
			p.takeAny(flagSYN | flagRST)
		}
		p.give(0)
	})
	p.when(unix.IPPROTO_UDP, func() {
		p.load(loadHalf, load+2)
		for _, port := range wrapped.VXLAN {
			p.when(uint32(port), func() { p.packet(load+vxlanLen, Ports{}, all) })
		}
		for _, port := range wrapped.UDP {
			p.when(uint32(port), func() { p.packet(load+udpLen, Ports{}, all) })
		}
		if all {
			p.give(snapLen)
			return
		}
		p.token(load + udpLen)
		p.give(0)
	})
	p.when(unix.IPPROTO_ICMP, func() {
		if all {
			p.give(snapLen)
			return
		}
		p.load(loadWord, load+8)
		p.take(tokenBits)
		quoted := load + 8 + ipLen
		p.load(loadHalf, quoted+4)
		p.take(keyMagic)
		p.token(quoted + 8)
		p.give(0)
	})
	p.give(0)
}

// token takes a load that begins with a token or with a DNS question that has
// one. A load that is too short for it is not taken.
func (p *program) token(at uint32) {
	p.load(loadWord, at)
	p.take(tokenBits)
	p.load(loadWord, at+dnsLabelAt)
	p.take(tokenBits)
}
