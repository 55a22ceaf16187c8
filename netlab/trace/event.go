package trace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/netlab/netns"
)

// Event is what nftables says of a packet that is traced: a rule matched it, a
// chain ended, or a chain's policy decided. The first event of each run through
// a base chain has the packet as it was when it came to that chain.
type Event struct {
	Space   string  `json:"space"`
	ID      uint32  `json:"id"` // of the packet, within one namespace
	Family  uint8   `json:"family"`
	Table   string  `json:"table"`
	Chain   string  `json:"chain"`
	Type    uint32  `json:"type"`
	Handle  uint64  `json:"handle,omitempty"`
	Verdict int32   `json:"verdict"`
	Jump    string  `json:"jump,omitempty"`
	In      int     `json:"in,omitempty"` // link
	Out     int     `json:"out,omitempty"`
	Mark    uint32  `json:"mark,omitempty"`
	P       *Packet `json:"packet,omitempty"`
}

// The types of events.
const (
	eventPolicy = 1
	eventReturn = 2
	eventRule   = 3
)

// Verdicts as nftables numbers them.
const (
	verdictReturn   = -5
	verdictGoto     = -4
	verdictJump     = -3
	verdictContinue = -1
	verdictDrop     = 0
	verdictAccept   = 1
	verdictStolen   = 2
)

const groupTrace = 9 // NFNLGRP_NFTRACE

// listen opens a socket that hears the events of all namespaces that have a
// number in ns.
func listen(ns *os.File) (fd int, err error) {
	err = netns.DoFile(ns, func() error {
		fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
		return err
	})
	if err != nil {
		return -1, fmt.Errorf("listen to rules: %w", err)
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20),
		unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}),
		unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_LISTEN_ALL_NSID, 1),
		unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, groupTrace))
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("listen to rules: %w", err)
	}
	return fd, nil
}

// hear reads events and gives them to f with the number of their namespace,
// until there are no more. Lost is true if the kernel had to throw some away.
func hear(fd int, b []byte, ports Ports, f func(nsid int, e Event)) (lost bool) {
	var control [64]byte
	for {
		n, cn, _, _, err := unix.Recvmsg(fd, b, control[:], unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOBUFS):
			lost = true
			continue
		case err != nil:
			return lost
		}
		id := nsidOf(control[:cn])
		for h, body := range messages(b[:n]) {
			if h.Type == nftKind(unix.NFT_MSG_TRACE) && len(body) >= 4 {
				f(id, parseEvent(body[0], body[4:], ports))
			}
		}
	}
}

func nsidOf(control []byte) int {
	if len(control) >= unix.CmsgLen(4) {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
		if h.Level == unix.SOL_NETLINK && h.Type == unix.NETLINK_LISTEN_ALL_NSID {
			return int(int32(binary.NativeEndian.Uint32(control[unix.CmsgLen(0):])))
		}
	}
	return -1
}

func parseEvent(family uint8, b []byte, ports Ports) Event {
	e := Event{Family: family}
	var network, transport []byte
	for kind, data := range attrs(b) {
		switch kind {
		case unix.NFTA_TRACE_TABLE:
			e.Table = text(data)
		case unix.NFTA_TRACE_CHAIN:
			e.Chain = text(data)
		case unix.NFTA_TRACE_RULE_HANDLE:
			e.Handle = big64(data)
		case unix.NFTA_TRACE_TYPE:
			e.Type = big32(data)
		case unix.NFTA_TRACE_VERDICT:
			e.Verdict = int32(big32(attr(data, unix.NFTA_VERDICT_CODE)))
			e.Jump = text(attr(data, unix.NFTA_VERDICT_CHAIN))
		case unix.NFTA_TRACE_POLICY:
			e.Verdict = int32(big32(data))
		case unix.NFTA_TRACE_ID:
			e.ID = big32(data)
		case unix.NFTA_TRACE_NETWORK_HEADER:
			network = data
		case unix.NFTA_TRACE_TRANSPORT_HEADER:
			transport = data
		case unix.NFTA_TRACE_IIF:
			e.In = int(big32(data))
		case unix.NFTA_TRACE_OIF:
			e.Out = int(big32(data))
		case unix.NFTA_TRACE_MARK:
			e.Mark = big32(data)
		}
	}
	// Of IPv4 an event has more than the header.
	if family == unix.NFPROTO_IPV6 || len(network) > 0 && network[0]>>4 == 6 {
		network = network[:min(len(network), ip6Len)]
	} else {
		network = network[:min(len(network), ipLen)]
	}
	e.P, _ = ports.parseIP(slices.Concat(network, transport))
	return e
}
