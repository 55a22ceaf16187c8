package trace

import (
	"encoding/binary"
	"errors"

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
	reg1       = unix.NFT_REG_1
	regVerdict = unix.NFT_REG_VERDICT
	nftMetaL4  = 16 // NFT_META_L4PROTO
	nftMetaNF  = 12 // NFT_META_NFTRACE

	payloadTransport = 2 // NFT_PAYLOAD_TRANSPORT_HEADER
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
		expr("payload", putBig(nil, unix.NFTA_PAYLOAD_DREG, reg1), putBig(nil, unix.NFTA_PAYLOAD_BASE, payloadTransport),
			putBig(nil, unix.NFTA_PAYLOAD_OFFSET, at), putBig(nil, unix.NFTA_PAYLOAD_LEN, uint32(len(want)))),
		equals(want)...)
}

// bits matches where an octet behind the IP header has all of these bits.
func bits(at uint32, mask byte) []byte { return masked(at, mask, mask) }

// masked matches some bits of an octet behind the IP header.
func masked(at uint32, mask, want byte) []byte {
	b := expr("payload", putBig(nil, unix.NFTA_PAYLOAD_DREG, reg1), putBig(nil, unix.NFTA_PAYLOAD_BASE, payloadTransport),
		putBig(nil, unix.NFTA_PAYLOAD_OFFSET, at), putBig(nil, unix.NFTA_PAYLOAD_LEN, 1))
	b = append(b, expr("bitwise", putBig(nil, unix.NFTA_BITWISE_SREG, reg1), putBig(nil, unix.NFTA_BITWISE_DREG, reg1),
		putBig(nil, unix.NFTA_BITWISE_LEN, 1),
		putNest(nil, unix.NFTA_BITWISE_MASK, put(nil, unix.NFTA_DATA_VALUE, []byte{mask})),
		putNest(nil, unix.NFTA_BITWISE_XOR, put(nil, unix.NFTA_DATA_VALUE, []byte{0})))...)
	return append(b, equals([]byte{want})...)
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
