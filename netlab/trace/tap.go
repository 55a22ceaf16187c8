package trace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/netlab/netns"
)

// Seen is a packet at one place: a link of a space, in one direction.
type Seen struct {
	Space string  `json:"space"`
	Index int     `json:"index"` // of the link
	Out   bool    `json:"out,omitempty"`
	Other bool    `json:"other,omitempty"` // it came in for somebody else's MAC
	At    int64   `json:"at"`              // nanoseconds of the machine's clock
	P     *Packet `json:"packet"`
}

// heed has the tap see everything that passes, or nothing: as long as nobody
// looks, packets need not be looked at, and for those that leave the kernel
// would make a copy of each. What is turned on at once is turned off late, when
// the tap rests: the kernel waits for all processors then.
func (s *space) heed(on bool) error {
	ignore := 1
	if on {
		ignore = 0
		if err := s.bindTap(unix.ETH_P_ALL); err != nil {
			return err
		}
	}
	return unix.SetsockoptInt(s.tap, unix.SOL_PACKET, packetIgnoreOutgoing, ignore)
}

// rest has the tap see nothing.
func (s *space) rest() error { return s.bindTap(noProtocol) }

// noProtocol is one of those that are for experiments: nothing here has it.
const noProtocol = 0x88b5

func (s *space) bindTap(protocol uint16) error {
	if s.hears == protocol {
		return nil
	}
	if err := unix.Bind(s.tap, &unix.SockaddrLinklayer{Protocol: swap(protocol)}); err != nil {
		return fmt.Errorf("listen in %s: %w", s.Name, err)
	}
	s.hears = protocol
	return nil
}

const packetIgnoreOutgoing = 23 // PACKET_IGNORE_OUTGOING

// openTap opens a socket that sees, once it heeds, what passes the links of a
// space and is taken by the filter. It is closed with the space.
func (s *space) openTap(filter []unix.SockFilter) error {
	fd := -1
	err := netns.DoFile(s.ns, func() (err error) {
		// No protocol yet: nothing comes in before the filter is in its place.
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		return err
	})
	if err != nil {
		return fmt.Errorf("listen in %s: %w", s.Name, err)
	}
	err = errors.Join(
		attach(fd, filter),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 1<<20),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, packetIgnoreOutgoing, 1))
	if err != nil {
		unix.Close(fd)
		return fmt.Errorf("listen in %s: %w", s.Name, err)
	}
	s.tap, s.hears = fd, 0
	return nil
}

func attach(fd int, filter []unix.SockFilter) error {
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
}

func swap(n uint16) uint16 { return n<<8 | n>>8 }

// The kinds of links that frames of Ethernet pass (see if_arp.h).
const (
	arphrdEther    = 1
	arphrdLoopback = 772
)

// readTap reads what a tap has seen and gives it to f, until there is no more.
func (s *space) readTap(ports Ports, f func(Seen)) {
	var b [messageLen]byte
	var control [64]byte
	for {
		n, cn, _, from, err := unix.Recvmsg(s.tap, b[:], control[:], unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENETDOWN) {
			continue
		}
		if err != nil {
			return
		}
		at, ok := from.(*unix.SockaddrLinklayer)
		if !ok {
			continue
		}
		p, ok := ports.parseFrame(b[:n], at.Hatype == arphrdEther || at.Hatype == arphrdLoopback)
		if !ok {
			continue
		}
		f(Seen{Space: s.Name, Index: at.Ifindex, Out: at.Pkttype == unix.PACKET_OUTGOING, Other: at.Pkttype == unix.PACKET_OTHERHOST, At: stamp(control[:cn]), P: p})
	}
}

// stamp is the time of a packet, from what came with it.
func stamp(control []byte) int64 {
	for len(control) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
		size := int(h.Len)
		if size < unix.SizeofCmsghdr || size > len(control) {
			return 0
		}
		data := control[unix.CmsgLen(0):size]
		if h.Level == unix.SOL_SOCKET && h.Type == unix.SCM_TIMESTAMPNS && len(data) >= 16 {
			return int64(binary.NativeEndian.Uint64(data))*1e9 + int64(binary.NativeEndian.Uint64(data[8:]))
		}
		control = control[min(len(control), unix.CmsgSpace(size-unix.CmsgLen(0))):]
	}
	return 0
}
