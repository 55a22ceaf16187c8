package trace

import (
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/core/step"
)

const (
	confObserved = "observed"
	confInferred = "inferred"
)

// header is what a hop says of a packet.
func (k *Packet) header() step.HopHeader {
	h := step.HopHeader{
		Src: k.Src.String(), Dst: k.Dst.String(), TTL: int(k.TTL), ID: int(k.ID), Len: k.Len, SrcMAC: k.SrcMAC, DstMAC: k.DstMAC,
	}
	switch k.Proto {
	case unix.IPPROTO_TCP:
		h.Proto, h.Flags = "tcp", tcpFlags(k.Flags)
	case unix.IPPROTO_UDP:
		h.Proto = "udp"
	case unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6:
		h.Proto, h.Flags = "icmp", k.icmpWords()
		return h
	}
	h.Src, h.Dst = k.from().String(), k.to().String()
	return h
}

func tcpFlags(flags uint8) string {
	var words []string
	for i, word := range []string{"FIN", "SYN", "RST", "PSH", "ACK"} {
		if flags&(1<<i) != 0 {
			words = append(words, word)
		}
	}
	return strings.Join(words, ",")
}

func (k *Packet) outer() *step.HopOuter {
	if k.Outer == nil {
		return nil
	}
	o := k.Outer
	return &step.HopOuter{Kind: o.Kind, Src: o.from().String(), Dst: o.to().String(), VNI: o.VNI}
}

// changes names the fields in which a header differs from the one before.
func changes(was, is step.HopHeader) (fields []string) {
	if was.Src != is.Src {
		fields = append(fields, "src")
	}
	if was.Dst != is.Dst {
		fields = append(fields, "dst")
	}
	if was.TTL != is.TTL && was.TTL != 0 && is.TTL != 0 {
		fields = append(fields, "ttl")
	}
	if was.Mark != is.Mark {
		fields = append(fields, "mark")
	}
	if was.DstMAC != is.DstMAC && was.DstMAC != "" && is.DstMAC != "" {
		fields = append(fields, "dstMAC")
	}
	if was.SrcMAC != is.SrcMAC && was.SrcMAC != "" && is.SrcMAC != "" {
		fields = append(fields, "srcMAC")
	}
	return fields
}

func parsePrefix(s string) netip.Prefix {
	p, _ := netip.ParsePrefix(s)
	return p
}
