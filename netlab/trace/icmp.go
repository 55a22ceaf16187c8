package trace

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// The types of ICMP's messages that are followed, and those of ICMPv6
// (RFC 792, RFC 4443, RFC 4861).
const (
	echoReply, echoRequest                                = 0, 8
	unreachable4, redirect4, timeExceeded4, badParameter4 = 3, 5, 11, 12
	unreachable6, tooBig6, timeExceeded6, badParameter6   = 1, 2, 3, 4
	echoRequest6, echoReply6                              = 128, 129
	solicitation6, advertisement6, redirect6              = 135, 136, 137
)

// icmp tells whether it is a message of ICMP, of either family.
func (k *Packet) icmp() bool { return k.Proto == unix.IPPROTO_ICMP || k.Proto == unix.IPPROTO_ICMPV6 }

// icmpName is what its protocol is called.
func (k *Packet) icmpName() string {
	if k.Proto == unix.IPPROTO_ICMPV6 {
		return "ICMPv6"
	}
	return "ICMP"
}

// echo is what an echo request or reply is to a probe, "" for other messages.
func (k *Packet) echo() string {
	switch {
	case k.Proto == unix.IPPROTO_ICMP && k.Type == echoRequest, k.Proto == unix.IPPROTO_ICMPV6 && k.Type == echoRequest6:
		return legRequest
	case k.Proto == unix.IPPROTO_ICMP && k.Type == echoReply, k.Proto == unix.IPPROTO_ICMPV6 && k.Type == echoReply6:
		return legReply
	}
	return ""
}

// isError tells ICMP's errors from its questions and answers.
func (k *Packet) isError() bool {
	if k.Proto == unix.IPPROTO_ICMPV6 {
		return k.Type >= unreachable6 && k.Type <= badParameter6 || k.Type == redirect6
	}
	return k.Proto == unix.IPPROTO_ICMP && (k.Type == unreachable4 || k.Type == redirect4 || k.Type == timeExceeded4 || k.Type == badParameter4)
}

// complaint is what an error is about.
type complaint int

const (
	complaintOther complaint = iota
	complaintTTL
	complaintMTU
	complaintPort
)

func (k *Packet) complaint() complaint {
	six := k.Proto == unix.IPPROTO_ICMPV6
	switch {
	case !six && k.Type == timeExceeded4, six && k.Type == timeExceeded6:
		return complaintTTL
	case !six && k.Type == unreachable4 && k.Code == 4, six && k.Type == tooBig6:
		return complaintMTU
	case !six && k.Type == unreachable4 && k.Code == 3, six && k.Type == unreachable6 && k.Code == 4:
		return complaintPort
	}
	return complaintOther
}

// message reads what is behind the IP header of a message of ICMP.
func (k *Packet) message(b []byte, p Ports) {
	k.Type, k.Code = b[0], b[1]
	switch {
	case k.isError():
		switch {
		case k.complaint() != complaintMTU:
		case k.Proto == unix.IPPROTO_ICMPV6:
			k.MTU = binary.BigEndian.Uint32(b[4:])
		default:
			k.MTU = uint32(binary.BigEndian.Uint16(b[6:]))
		}
		k.Quoted, _ = p.parseIP(b[8:])
	case k.Proto == unix.IPPROTO_ICMPV6 && (k.Type == solicitation6 || k.Type == advertisement6):
		k.discovery(b)
	default:
		k.Ident = binary.BigEndian.Uint16(b[4:])
		k.datagram(b[8:])
	}
}

// discovery reads how neighbours find each other in IPv6, as ARP is read.
func (k *Packet) discovery(b []byte) {
	if len(b) < 24 {
		return
	}
	about := netip.AddrFrom16([16]byte(b[8:24]))
	if k.ARP = 1; k.Type == solicitation6 {
		k.Dst = about
	} else {
		k.ARP, k.Src = 2, about
	}
}

func parseARP(b []byte, src, dst string) (*Packet, bool) {
	if len(b) < 28 {
		return nil, false
	}
	return &Packet{ARP: binary.BigEndian.Uint16(b[6:]), SrcMAC: src, DstMAC: dst,
		Src: netip.AddrFrom4([4]byte(b[14:18])), Dst: netip.AddrFrom4([4]byte(b[24:28]))}, true
}

// icmpWords are ping's and tcpdump's words for a message.
func (k *Packet) icmpWords() string {
	if w := (map[string]string{legRequest: "echo request", legReply: "echo reply"})[k.echo()]; w != "" {
		return w
	}
	if k.Proto == unix.IPPROTO_ICMPV6 {
		return icmp6Words(k.Type, k.Code)
	}
	switch k.Type {
	case redirect4:
		return "redirect"
	case timeExceeded4:
		return "time exceeded"
	case unreachable4:
		return whatOf(unreachable, k.Code)
	}
	return fmt.Sprintf("type %d code %d", k.Type, k.Code)
}

func icmp6Words(kind, code uint8) string {
	switch kind {
	case unreachable6:
		return whatOf(unreachableSix, code)
	case tooBig6:
		return "packet too big"
	case timeExceeded6:
		return "time exceeded"
	case badParameter6:
		return "parameter problem"
	case redirect6:
		return "redirect"
	}
	return fmt.Sprintf("type %d code %d", kind, code)
}

func whatOf(words []string, code uint8) string {
	if int(code) < len(words) && words[code] != "" {
		return words[code]
	}
	return fmt.Sprintf("unreachable (code %d)", code)
}

var (
	unreachable = []string{0: "net unreachable", 1: "host unreachable", 2: "protocol unreachable", 3: "port unreachable",
		4: "fragmentation needed", 9: "net prohibited", 10: "host prohibited", 13: "administratively prohibited"}
	unreachableSix = []string{0: "no route", 1: "administratively prohibited", 2: "beyond scope of source address", 3: "address unreachable",
		4: "port unreachable", 5: "source address failed policy", 6: "reject route"}
)
