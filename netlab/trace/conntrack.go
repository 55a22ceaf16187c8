package trace

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/core/step"
)

// The attributes of a connection, see nfnetlink_conntrack.h.
const (
	ctMsgGet    = 1
	ctTupleOrig = 1
	ctTupleRepl = 2
	ctStatus    = 3
	ctID        = 12

	tupleIP    = 1
	tupleProto = 2
	ipSrc      = 1
	ipDst      = 2
	protoNum   = 1
	protoSPort = 2
	protoDPort = 3
	icmpID     = 4
	icmpType   = 5
	icmpCode   = 6

	statusSeenReply = 1 << 1
	statusDNAT      = 1 << 5
	statusSNAT      = 1 << 4
)

// connection asks for the connection whose first packet had these ends. For
// ICMP SPort is the identifier.
func (s *space) connection(q Question) (*step.HopCT, error) {
	ip := putNest(nil, tupleIP, put(nil, ipSrc, q.Src.AsSlice()), put(nil, ipDst, q.Dst.AsSlice()))
	port := func(kind, n uint16) []byte { return put(nil, kind, binary.BigEndian.AppendUint16(nil, n)) }
	ends := append(port(protoSPort, q.SPort), port(protoDPort, q.DPort)...)
	if q.Proto == unix.IPPROTO_ICMP {
		ends = append(port(icmpID, q.SPort), put(put(nil, icmpType, []byte{8}), icmpCode, []byte{0})...)
	}
	body := nfHeader(unix.AF_INET, 0)
	body = putNest(body, ctTupleOrig, ip, putNest(nil, tupleProto, put(nil, protoNum, []byte{q.Proto}), ends))
	var ct *step.HopCT
	err := s.nf.ask(message{unix.NFNL_SUBSYS_CTNETLINK<<8 | ctMsgGet, 0, body}, func(b []byte) {
		if len(b) > 4 {
			ct = parseConnection(b[4:])
		}
	})
	return ct, err
}

func parseConnection(b []byte) *step.HopCT {
	ct := &step.HopCT{
		ID: big32(attr(b, ctID)), Status: "new",
		Orig: tupleOf(attr(b, ctTupleOrig)), Reply: tupleOf(attr(b, ctTupleRepl)),
	}
	if big32(attr(b, ctStatus))&statusSeenReply != 0 {
		ct.Status = "established"
	}
	return ct
}

// tupleOf writes one direction of a connection.
func tupleOf(b []byte) string {
	src, dst := attr(b, tupleIP, ipSrc), attr(b, tupleIP, ipDst)
	if len(src) != 4 || len(dst) != 4 {
		return ""
	}
	from, to := netip.AddrFrom4([4]byte(src)), netip.AddrFrom4([4]byte(dst))
	sport, dport := attr(b, tupleProto, protoSPort), attr(b, tupleProto, protoDPort)
	if len(sport) == 2 && len(dport) == 2 {
		return fmt.Sprintf("%s → %s", netip.AddrPortFrom(from, binary.BigEndian.Uint16(sport)), netip.AddrPortFrom(to, binary.BigEndian.Uint16(dport)))
	}
	return fmt.Sprintf("%s → %s", from, to)
}
