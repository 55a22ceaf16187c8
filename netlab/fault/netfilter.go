package fault

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// The words of nfnetlink (linux/netfilter/nfnetlink.h), for what has no library
// among those that klab uses.

func be32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }

func attribute(kind uint16, value []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
	return append(b, make([]byte, (4-len(b)%4)%4)...)
}

// message is a netlink message of nfnetlink, about a resource of a family.
func message(kind, flags uint16, family byte, resource uint16, body []byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+4+len(body)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = append(b, make([]byte, 8)...) // sequence and port
	b = binary.BigEndian.AppendUint16(append(b, family, 0), resource)
	return append(b, body...)
}

// sock is a socket of nfnetlink.
type sock int

func netfilter() (sock, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return 0, err
	}
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10})
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 1<<20)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 1<<23)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		unix.Close(fd)
		return 0, err
	}
	return sock(fd), nil
}

func (s sock) close() { unix.Close(int(s)) }

// ask sends messages of which the last asks for an acknowledgement, and
// returns the first answer that is an error, or that of the last. What is
// there already is no error.
func (s sock) ask(messages []byte) error {
	if err := unix.Sendto(int(s), messages, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	last := lastKind(messages)
	var first error
	buf := make([]byte, 1<<16)
	for {
		size, _, err := unix.Recvfrom(int(s), buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		for b := buf[:size]; len(b) >= unix.SizeofNlMsghdr+unix.SizeofNlMsgerr; {
			length := int(binary.NativeEndian.Uint32(b))
			code := unix.Errno(-int32(binary.NativeEndian.Uint32(b[unix.SizeofNlMsghdr:])))
			kind := binary.NativeEndian.Uint16(b[unix.SizeofNlMsghdr+8:])
			if code != 0 && code != unix.EEXIST && first == nil && kind != last {
				first = code
			}
			if kind == last { // the acknowledgement
				if first == nil && code != 0 {
					first = code
				}
				return first
			}
			b = b[min(len(b), (length+3)&^3):]
		}
	}
}

// batch sends a transaction of which one message asks for an acknowledgement,
// and returns what that says.
func (s sock) batch(messages []byte) error {
	if err := unix.Sendto(int(s), messages, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	buf := make([]byte, 1<<16)
	for {
		size, _, err := unix.Recvfrom(int(s), buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if size < unix.SizeofNlMsghdr+unix.SizeofNlMsgerr {
			return errors.New("the kernel's answer is too short")
		}
		if code := unix.Errno(-int32(binary.NativeEndian.Uint32(buf[unix.SizeofNlMsghdr:]))); code != 0 {
			return code
		}
		return nil
	}
}

func lastKind(messages []byte) (kind uint16) {
	for len(messages) > 0 {
		kind = binary.NativeEndian.Uint16(messages[4:])
		messages = messages[binary.NativeEndian.Uint32(messages):]
	}
	return kind
}
