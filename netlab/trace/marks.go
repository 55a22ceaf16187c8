package trace

import (
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// traceRules choose the packets of a family that are traced. A packet of no
// interest passes three to six comparisons. With six there may be packets of
// IPv6 within others.
func (p Ports) traceRules(family uint8, six, all bool) (list []rule) {
	add := func(chain string, parts ...[]byte) {
		var exprs []byte
		for _, x := range append(parts, setTrace()) {
			exprs = append(exprs, x...)
		}
		list = append(list, rule{chain, exprs})
	}
	lead := func(from, to string, match []byte) {
		list = append(list, rule{from, append(match, goTo(to)...)})
	}
	for _, base := range []string{"prerouting", "output"} {
		lead(base, "tcp", isProto(unix.IPPROTO_TCP))
		lead(base, "udp", isProto(unix.IPPROTO_UDP))
		lead(base, "icmp", isProto(icmpOf(family)))
	}
	if all {
		add("tcp", bits(13, flagSYN))
		add("tcp", bits(13, flagRST))
		add("udp")
		if family == unix.NFPROTO_IPV4 {
			add("icmp")
		}
		for _, kind := range followed6 { // and not how neighbours find each other
			if family == unix.NFPROTO_IPV6 {
				add("icmp", load(0, []byte{kind}))
			}
		}
	}
	magic, word := binary.BigEndian.AppendUint16(nil, keyMagic), []byte(tokenWord)
	add("tcp", load(4, magic))
	add("tcp", load(8, magic))
	depths := p.depths()
	for _, w := range depths {
		lead("udp", w.chain(), load(2, binary.BigEndian.AppendUint16(nil, w.port)))
	}
	add("udp", load(udpLen, word))
	add("udp", load(udpLen+dnsLabelAt, word))
	for _, w := range depths {
		list = append(list, w.rules(six)...)
	}
	quoted := uint32(8 + ipLen)
	if family == unix.NFPROTO_IPV6 {
		quoted = 8 + ip6Len
	}
	for _, x := range [][]byte{load(8, word), load(quoted+4, magic), load(quoted+8, word), load(quoted+8+dnsLabelAt, word)} {
		add("icmp", x)
	}
	return list
}

// followed6 are the types of ICMPv6 that are followed when others send them.
var followed6 = []byte{unreachable6, tooBig6, timeExceeded6, badParameter6, echoRequest6, echoReply6}

func icmpOf(family uint8) uint8 {
	if family == unix.NFPROTO_IPV6 {
		return unix.IPPROTO_ICMPV6
	}
	return unix.IPPROTO_ICMP
}

// depth is where in the load of datagrams to a port there are packets.
type depth struct {
	port uint16
	at   uint32
}

// depths are all that there are.
func (p Ports) depths() (list []depth) {
	for _, port := range p.VXLAN {
		list = append(list, depth{port, vxlanLen})
	}
	for _, port := range p.UDP {
		list = append(list, depth{port, udpLen})
	}
	return list
}

func (w depth) chain() string { return fmt.Sprintf("udp-%d", w.port) }

// rules choose among such datagrams, by the packet within; with six, by its
// family first.
func (w depth) rules(six bool) (list []rule) {
	for _, x := range []struct {
		version        byte
		header, number uint32
	}{{6, ip6Len, 6}, {4, ipLen, 9}} {
		chain := w.chain()
		if x.version == 6 {
			if !six {
				continue
			}
			chain += "-six"
			list = append(list, rule{w.chain(), append(masked(w.at, 0xf0, 0x60), goTo(chain)...)})
		}
		list = append(list, rule{chain, append(load(w.at+x.number, []byte{unix.IPPROTO_TCP}), goTo(chain+"-tcp")...)})
		at, magic, word := w.at+x.header, binary.BigEndian.AppendUint16(nil, keyMagic), []byte(tokenWord)
		for _, match := range [][]byte{load(at+4, magic), load(at+8, magic)} {
			list = append(list, rule{chain + "-tcp", append(match, setTrace()...)})
		}
		for _, match := range [][]byte{load(at+8, word), load(at+8+dnsLabelAt, word), load(at+8+x.header+4, magic)} {
			list = append(list, rule{chain, append(match, setTrace()...)})
		}
	}
	return list
}

// families are those whose packets are traced.
func (s *space) families() []uint8 {
	if s.six {
		return []uint8{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6}
	}
	return []uint8{unix.NFPROTO_IPV4}
}

// mark makes the tables in the space, or makes them again with other rules.
func (s *space) mark(p Ports, all bool) error {
	var list []message
	s.anchored = s.legacyFamilies()
	for _, family := range s.families() {
		bases := bases
		if slices.Contains(s.anchored, families[family]) {
			bases = slices.Concat(bases, anchors)
		}
		list = append(list, tableOf(family, bases, p.traceRules(family, s.six, all))...)
	}
	if err := s.nf.batch(list...); err != nil {
		return fmt.Errorf("table %s in %s: %w", tableName, s.Name, err)
	}
	return nil
}

// bases are the chains in which it is chosen what is traced.
var bases = []anchor{{"prerouting", "prerouting", tracePriority}, {"output", "output", tracePriority}}

// tableOf is what makes the table of a family.
func tableOf(family uint8, bases []anchor, rules []rule) []message {
	const create = unix.NLM_F_CREATE
	table := func() []byte {
		return putString(nfHeader(family, 0), unix.NFTA_TABLE_NAME, tableName)
	}
	list := []message{
		{nftKind(unix.NFT_MSG_NEWTABLE), create, table()},
		{nftKind(unix.NFT_MSG_DELTABLE), 0, table()},
		{nftKind(unix.NFT_MSG_NEWTABLE), create, table()},
	}
	chain := func(name string) []byte {
		return putString(putString(nfHeader(family, 0), unix.NFTA_CHAIN_TABLE, tableName), unix.NFTA_CHAIN_NAME, name)
	}
	names := []string{"tcp", "udp", "icmp"}
	for _, r := range rules {
		if !slices.Contains(names, r.chain) && r.chain != "prerouting" && r.chain != "output" {
			names = append(names, r.chain)
		}
	}
	for _, name := range names {
		list = append(list, message{nftKind(unix.NFT_MSG_NEWCHAIN), create, chain(name)})
	}
	for _, base := range bases {
		hook := uint32(slices.Index(hooks, base.hook))
		b := putNest(chain(base.name), unix.NFTA_CHAIN_HOOK, putBig(nil, unix.NFTA_HOOK_HOOKNUM, hook), putBig(nil, unix.NFTA_HOOK_PRIORITY, uint32(base.priority)))
		list = append(list, message{nftKind(unix.NFT_MSG_NEWCHAIN), create, putString(b, unix.NFTA_CHAIN_TYPE, "filter")})
	}
	for _, r := range rules {
		b := putString(putString(nfHeader(family, 0), unix.NFTA_RULE_TABLE, tableName), unix.NFTA_RULE_CHAIN, r.chain)
		list = append(list, message{nftKind(unix.NFT_MSG_NEWRULE), create | unix.NLM_F_APPEND, putNest(b, unix.NFTA_RULE_EXPRESSIONS, r.exprs)})
	}
	return list
}

// unmark removes the tables, if they are there.
func (s *space) unmark() error {
	var list []message
	for _, family := range s.families() {
		table := putString(nfHeader(family, 0), unix.NFTA_TABLE_NAME, tableName)
		list = append(list, message{nftKind(unix.NFT_MSG_NEWTABLE), unix.NLM_F_CREATE, table}, message{nftKind(unix.NFT_MSG_DELTABLE), 0, table})
	}
	if err := s.nf.batch(list...); err != nil {
		return fmt.Errorf("remove table %s in %s: %w", tableName, s.Name, err)
	}
	return nil
}
