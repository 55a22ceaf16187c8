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
	ip6Src     = 3
	ip6Dst     = 4
	icmp6ID    = 7 // and type and code, as of ICMP

	statusSeenReply = 1 << 1
	statusDNAT      = 1 << 5
	statusSNAT      = 1 << 4
)

// connection asks for the connection whose first packet had these ends. For
// ICMP SPort is the identifier.
func (s *space) connection(q Question) (*step.HopCT, error) {
	src, dst := uint16(ipSrc), uint16(ipDst)
	if q.Dst.Is6() {
		src, dst = ip6Src, ip6Dst
	}
	ip := putNest(nil, tupleIP, put(nil, src, q.Src.AsSlice()), put(nil, dst, q.Dst.AsSlice()))
	port := func(kind, n uint16) []byte { return put(nil, kind, binary.BigEndian.AppendUint16(nil, n)) }
	ends := append(port(protoSPort, q.SPort), port(protoDPort, q.DPort)...)
	switch q.Proto {
	case unix.IPPROTO_ICMP:
		ends = append(port(icmpID, q.SPort), put(put(nil, icmpType, []byte{echoRequest}), icmpCode, []byte{0})...)
	case unix.IPPROTO_ICMPV6:
		ends = append(port(icmp6ID, q.SPort), put(put(nil, icmp6ID+1, []byte{echoRequest6}), icmp6ID+2, []byte{0})...)
	}
	body := nfHeader(familyOf(q.Dst), 0)
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
	if src == nil {
		src, dst = attr(b, tupleIP, ip6Src), attr(b, tupleIP, ip6Dst)
	}
	from, to := addrOf(src), addrOf(dst)
	if !from.IsValid() || !to.IsValid() {
		return ""
	}
	sport, dport := attr(b, tupleProto, protoSPort), attr(b, tupleProto, protoDPort)
	if len(sport) == 2 && len(dport) == 2 {
		return fmt.Sprintf("%s → %s", netip.AddrPortFrom(from, binary.BigEndian.Uint16(sport)), netip.AddrPortFrom(to, binary.BigEndian.Uint16(dport)))
	}
	return fmt.Sprintf("%s → %s", from, to)
}
