package trace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// nfHeader is what messages to netfilter begin with.
func nfHeader(family uint8, res uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{family, 0}, res)
}

func nftKind(op uint16) uint16 { return unix.NFNL_SUBSYS_NFTABLES<<8 | op }

// batch carries out messages to nftables as one transaction.
func (c *conn) batch(list ...message) error {
	const begin, end = 0x10, 0x11 // NFNL_MSG_BATCH_BEGIN, _END
	var b []byte
	first := c.seq + 1
	b = message{begin, 0, nfHeader(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)}.append(b, first)
	acks := map[uint32]bool{}
	for i, m := range list {
		m.flags |= unix.NLM_F_ACK
		acks[first+1+uint32(i)] = true
		b = m.append(b, first+1+uint32(i))
	}
	c.seq = first + 1 + uint32(len(list))
	b = message{end, 0, nfHeader(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)}.append(b, c.seq)
	if err := unix.Sendto(c.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	var errs []error
	for len(acks) > 0 {
		n, _, err := unix.Recvfrom(c.fd, c.buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		for h, body := range messages(c.buf[:n]) {
			if h.Type != unix.NLMSG_ERROR {
				continue
			}
			if code := int32(binary.NativeEndian.Uint32(body)); code != 0 {
				errs = append(errs, unix.Errno(-code))
				if !acks[h.Seq] { // the batch as a whole
					return errors.Join(errs...)
				}
			}
			delete(acks, h.Seq)
		}
	}
	return errors.Join(errs...)
}

// tableName is the table in which packets are marked for tracing.
const tableName = "klab-trace"

// tracePriority is before that of every table of iptables.
const tracePriority = -350

// rule is a rule of that table, as expressions.
type rule struct {
	chain string
	exprs []byte
}

func expr(name string, parts ...[]byte) []byte {
	data := putString(nil, unix.NFTA_EXPR_NAME, name)
	return putNest(nil, unix.NFTA_LIST_ELEM, data, putNest(nil, unix.NFTA_EXPR_DATA, parts...))
}

const (
	reg1        = unix.NFT_REG_1
	regVerdict  = unix.NFT_REG_VERDICT
	nftMetaL4   = 16 // NFT_META_L4PROTO
	nftMetaNF   = 12 // NFT_META_NFTRACE
	payloadBase = 2  // NFT_PAYLOAD_TRANSPORT_HEADER
)

// isProto matches packets of one protocol.
func isProto(proto uint8) []byte {
	return append(
		expr("meta", putBig(nil, unix.NFTA_META_DREG, reg1), putBig(nil, unix.NFTA_META_KEY, nftMetaL4)),
		equals([]byte{proto})...)
}

func equals(want []byte) []byte {
	return expr("cmp", putBig(nil, unix.NFTA_CMP_SREG, reg1), putBig(nil, unix.NFTA_CMP_OP, unix.NFT_CMP_EQ),
		putNest(nil, unix.NFTA_CMP_DATA, put(nil, unix.NFTA_DATA_VALUE, want)))
}

// load matches what is at an offset behind the IP header.
func load(at uint32, want []byte) []byte {
	return append(
		expr("payload", putBig(nil, unix.NFTA_PAYLOAD_DREG, reg1), putBig(nil, unix.NFTA_PAYLOAD_BASE, payloadBase),
			putBig(nil, unix.NFTA_PAYLOAD_OFFSET, at), putBig(nil, unix.NFTA_PAYLOAD_LEN, uint32(len(want)))),
		equals(want)...)
}

// bits matches some bits of an octet behind the IP header.
func bits(at uint32, mask byte) []byte {
	b := expr("payload", putBig(nil, unix.NFTA_PAYLOAD_DREG, reg1), putBig(nil, unix.NFTA_PAYLOAD_BASE, payloadBase),
		putBig(nil, unix.NFTA_PAYLOAD_OFFSET, at), putBig(nil, unix.NFTA_PAYLOAD_LEN, 1))
	b = append(b, expr("bitwise", putBig(nil, unix.NFTA_BITWISE_SREG, reg1), putBig(nil, unix.NFTA_BITWISE_DREG, reg1),
		putBig(nil, unix.NFTA_BITWISE_LEN, 1),
		putNest(nil, unix.NFTA_BITWISE_MASK, put(nil, unix.NFTA_DATA_VALUE, []byte{mask})),
		putNest(nil, unix.NFTA_BITWISE_XOR, put(nil, unix.NFTA_DATA_VALUE, []byte{0})))...)
	return append(b, equals([]byte{mask})...)
}

// goTo leaves the chain for another one, for good.
func goTo(chain string) []byte {
	return expr("immediate", putBig(nil, unix.NFTA_IMMEDIATE_DREG, regVerdict),
		putNest(nil, unix.NFTA_IMMEDIATE_DATA, putNest(nil, unix.NFTA_DATA_VERDICT,
			putBig(nil, unix.NFTA_VERDICT_CODE, ^uint32(3)), // NFT_GOTO, -4
			putString(nil, unix.NFTA_VERDICT_CHAIN, chain))))
}

func setTrace() []byte {
	return append(
		expr("immediate", putBig(nil, unix.NFTA_IMMEDIATE_DREG, reg1),
			putNest(nil, unix.NFTA_IMMEDIATE_DATA, put(nil, unix.NFTA_DATA_VALUE, []byte{1}))),
		expr("meta", putBig(nil, unix.NFTA_META_KEY, nftMetaNF), putBig(nil, unix.NFTA_META_SREG, reg1))...)
}

// traceRules choose the packets that are traced. A packet of no interest passes
// three to six comparisons.
func (p Ports) traceRules(all bool) (list []rule) {
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
		lead(base, "icmp", isProto(unix.IPPROTO_ICMP))
	}
	if all {
		add("tcp", bits(13, flagSYN))
		add("tcp", bits(13, flagRST))
		add("udp")
		add("icmp")
	}
	magic, word := binary.BigEndian.AppendUint16(nil, keyMagic), []byte(tokenWord)
	add("tcp", load(4, magic))
	add("tcp", load(8, magic))
	const quoted = 8 + ipLen
	depths := p.depths()
	for port := range depths {
		lead("udp", wrappedChain(port), load(2, binary.BigEndian.AppendUint16(nil, port)))
	}
	add("udp", load(udpLen, word))
	add("udp", load(udpLen+dnsLabelAt, word))
	for port, at := range depths {
		chain := wrappedChain(port)
		lead(chain, chain+"-tcp", load(at-ipLen+9, []byte{unix.IPPROTO_TCP}))
		add(chain+"-tcp", load(at+4, magic))
		add(chain+"-tcp", load(at+8, magic))
		for _, x := range [][]byte{load(at+8, word), load(at+8+dnsLabelAt, word), load(at+quoted+4, magic)} {
			add(chain, x)
		}
	}
	add("icmp", load(8, word))
	add("icmp", load(quoted+4, magic))
	add("icmp", load(quoted+8, word))
	add("icmp", load(quoted+8+dnsLabelAt, word))
	return list
}

// depths are the ports of packets around others, and where in their load the
// inner one's transport header is.
func (p Ports) depths() map[uint16]uint32 {
	of := map[uint16]uint32{}
	for _, port := range p.VXLAN {
		of[port] = vxlanLen + ipLen
	}
	for _, port := range p.UDP {
		of[port] = udpLen + ipLen
	}
	return of
}

func wrappedChain(port uint16) string { return fmt.Sprintf("udp-%d", port) }

// mark makes the table in the space, or makes it again with other rules.
func (s *space) mark(rules []rule) error {
	const create = unix.NLM_F_CREATE
	table := func() []byte {
		return putString(nfHeader(unix.NFPROTO_IPV4, 0), unix.NFTA_TABLE_NAME, tableName)
	}
	list := []message{
		{nftKind(unix.NFT_MSG_NEWTABLE), create, table()},
		{nftKind(unix.NFT_MSG_DELTABLE), 0, table()},
		{nftKind(unix.NFT_MSG_NEWTABLE), create, table()},
	}
	chain := func(name string) []byte {
		return putString(putString(nfHeader(unix.NFPROTO_IPV4, 0), unix.NFTA_CHAIN_TABLE, tableName), unix.NFTA_CHAIN_NAME, name)
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
	for hook, name := range map[uint32]string{unix.NF_INET_PRE_ROUTING: "prerouting", unix.NF_INET_LOCAL_OUT: "output"} {
		priority := int32(tracePriority)
		b := putNest(chain(name), unix.NFTA_CHAIN_HOOK, putBig(nil, unix.NFTA_HOOK_HOOKNUM, hook), putBig(nil, unix.NFTA_HOOK_PRIORITY, uint32(priority)))
		list = append(list, message{nftKind(unix.NFT_MSG_NEWCHAIN), create, putString(b, unix.NFTA_CHAIN_TYPE, "filter")})
	}
	for _, r := range rules {
		b := putString(putString(nfHeader(unix.NFPROTO_IPV4, 0), unix.NFTA_RULE_TABLE, tableName), unix.NFTA_RULE_CHAIN, r.chain)
		list = append(list, message{nftKind(unix.NFT_MSG_NEWRULE), create | unix.NLM_F_APPEND, putNest(b, unix.NFTA_RULE_EXPRESSIONS, r.exprs)})
	}
	if err := s.nf.batch(list...); err != nil {
		return fmt.Errorf("table %s in %s: %w", tableName, s.Name, err)
	}
	return nil
}

// unmark removes the table.
func (s *space) unmark() error {
	err := s.nf.batch(message{nftKind(unix.NFT_MSG_DELTABLE), 0, putString(nfHeader(unix.NFPROTO_IPV4, 0), unix.NFTA_TABLE_NAME, tableName)})
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove table %s in %s: %w", tableName, s.Name, err)
	}
	return nil
}
