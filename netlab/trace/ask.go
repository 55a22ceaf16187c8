package trace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/netlab/netns"
)

// Ask is what is to be sent: a packet from inside a space to an address.
type Ask struct {
	From  string         `json:"from"` // the space's name
	Src   netip.Addr     `json:"src"`  // the source address; not valid: the kernel chooses
	To    netip.AddrPort `json:"to"`   // without a port for "icmp"
	Proto string         `json:"proto"`
	// Size is the length of a datagram's or an echo request's load, which is
	// then not cut into fragments. 0: as short as can be.
	Size int `json:"size,omitempty"`
	// Patience is how long an answer is waited for: default 1 s.
	Patience time.Duration `json:"-"`
}

var protocols = map[string]uint8{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "icmp": unix.IPPROTO_ICMP}

// protocol is its number, which of ICMP differs between the families.
func (a *Ask) protocol() uint8 {
	if a.Proto == "icmp" && a.To.Addr().Is6() {
		return unix.IPPROTO_ICMPV6
	}
	return protocols[a.Proto]
}

// CheckProto says what is wrong with the name of a protocol.
func CheckProto(proto string) error {
	if protocols[proto] == 0 {
		return fmt.Errorf("the protocol %q cannot be followed: use tcp, udp or icmp", proto)
	}
	return nil
}

// Check says what is wrong with an Ask.
func (a *Ask) Check() error {
	if err := CheckProto(a.Proto); err != nil {
		return err
	}
	if !a.To.Addr().IsValid() || a.To.Addr().Is4In6() || a.To.Addr().IsMulticast() {
		return fmt.Errorf("%s cannot be sent to: a packet that is followed goes to one IPv4 or IPv6 address", a.To.Addr())
	}
	if a.Src.IsValid() && a.Src.Is4() != a.To.Addr().Is4() {
		return fmt.Errorf("a packet from %s cannot go to %s: both are to be of IPv4, or both of IPv6", a.Src, a.To.Addr())
	}
	if a.Proto != "icmp" && a.To.Port() == 0 {
		return fmt.Errorf("%s needs a port", a.Proto)
	}
	if a.Size < 0 || a.Size > 65000 {
		return fmt.Errorf("a load has 0 to 65000 bytes, not %d", a.Size)
	}
	return nil
}

// probe is one Ask under way.
type probe struct {
	Ask
	key   Key
	fd    int
	local netip.AddrPort
}

// dnsPort is where a datagram is a question of DNS, so that it gets an answer.
const dnsPort = 53

// send opens the socket and sends the first packet. The error is that of the
// kernel, which may refuse to.
func (p *probe) send(s *space) (err error) {
	kind := map[string]int{"tcp": unix.SOCK_STREAM, "udp": unix.SOCK_DGRAM, "icmp": unix.SOCK_RAW}[p.Proto]
	err = netns.DoFile(s.ns, func() (err error) {
		p.fd, err = unix.Socket(int(familyOf(p.To.Addr())), kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(p.protocol()))
		return err
	})
	if err != nil {
		return fmt.Errorf("socket in %s: %w", s.Name, err)
	}
	if p.Proto == "tcp" {
		if err := p.number(); err != nil {
			return err
		}
	} else if p.Size > 0 {
		if err := p.whole(); err != nil {
			return err
		}
	}
	if p.Src.IsValid() {
		if err := unix.Bind(p.fd, sockaddr(netip.AddrPortFrom(p.Src, 0))); err != nil {
			return refusal{"bind", err}
		}
	}
	err = unix.Connect(p.fd, sockaddr(p.To))
	if at, nameErr := unix.Getsockname(p.fd); nameErr == nil {
		switch at := at.(type) {
		case *unix.SockaddrInet4:
			p.local = netip.AddrPortFrom(netip.AddrFrom4(at.Addr), uint16(at.Port))
		case *unix.SockaddrInet6:
			p.local = netip.AddrPortFrom(netip.AddrFrom16(at.Addr), uint16(at.Port))
		}
	}
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return refusal{"connect", err}
	}
	if p.Proto != "tcp" {
		if _, err := unix.Write(p.fd, p.load()); err != nil {
			return refusal{"send", err}
		}
	}
	return nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}

// whole keeps the kernel from cutting what it sends, and from remembering what
// it learned of the way.
func (p *probe) whole() error {
	if p.To.Addr().Is4() {
		return unix.SetsockoptInt(p.fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
	}
	return errors.Join(
		unix.SetsockoptInt(p.fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE),
		unix.SetsockoptInt(p.fd, unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, 1))
}

// refusal is that the kernel would not send.
type refusal struct {
	call string
	err  error
}

func (r refusal) Error() string { return r.call + ": " + r.err.Error() }
func (r refusal) Unwrap() error { return r.err }

// number gives the connection the sequence number that is the probe's key, as
// a process that is restored from a checkpoint gets its old one.
func (p *probe) number() error {
	const tcpSendQueue = 2
	return errors.Join(
		unix.SetsockoptInt(p.fd, unix.IPPROTO_TCP, unix.TCP_REPAIR, 1),
		unix.SetsockoptInt(p.fd, unix.IPPROTO_TCP, unix.TCP_REPAIR_QUEUE, tcpSendQueue),
		unix.SetsockoptInt(p.fd, unix.IPPROTO_TCP, unix.TCP_QUEUE_SEQ, int(p.key)),
		unix.SetsockoptInt(p.fd, unix.IPPROTO_TCP, unix.TCP_REPAIR, 0),
		unix.SetsockoptLinger(p.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
}

// load is what the packet carries.
func (p *probe) load() []byte {
	switch {
	case p.Proto == "icmp":
		b := append([]byte{echoRequest, 0, 0, 0}, byte(p.key>>12), byte(p.key>>4), 0, 1)
		b = append(append(b, p.key.token()...), make([]byte, max(0, p.Size-tokenLen))...)
		if p.To.Addr().Is6() {
			b[0] = echoRequest6
			return b // the kernel puts in the sum, which is of addresses too
		}
		binary.BigEndian.PutUint16(b[2:], checksum(b))
		return b
	case p.To.Port() == dnsPort:
		// One question for an address; the name is one that nobody has.
		b := []byte{byte(p.key >> 12), byte(p.key >> 4), 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
		for _, label := range append([]string{p.key.label()}, strings.Split("default.svc.cluster.local", ".")...) {
			b = append(append(b, byte(len(label))), label...)
		}
		return append(b, 0, 0, 1, 0, 1)
	}
	return append(p.key.token(), make([]byte, max(0, p.Size-tokenLen))...)
}

func checksum(b []byte) uint16 {
	var sum uint32
	for i, c := range b {
		sum += uint32(c) << (8 * (1 - i%2))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// hearTime is how long an answer that a tap saw may need to get to its socket.
const hearTime = 5 * time.Millisecond

// heard tells whether the socket has its answer, or is about to.
func (p *probe) heard() bool {
	answers := map[string]int16{"tcp": unix.POLLOUT, "udp": unix.POLLIN}[p.Proto]
	if p.fd < 0 || answers == 0 {
		return false
	}
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(p.fd), Events: answers}}, int(hearTime.Milliseconds()))
	return err == nil && n > 0
}

// hangUp ends the connection. One that was made is reset at once, so that
// nobody keeps anything of it.
func (p *probe) hangUp() {
	if p.fd < 0 {
		return
	}
	if p.Proto == "tcp" {
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLOUT}}, 5)
	}
	unix.Close(p.fd)
	p.fd = -1
}
