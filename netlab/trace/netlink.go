package trace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/netlab/netns"
)

// conn is a netlink socket of one namespace, for questions and answers. It is
// not safe for concurrent use.
type conn struct {
	fd  int
	seq uint32
	buf []byte
}

// dial opens a netlink socket inside the namespace.
func dial(ns *os.File, protocol int) (*conn, error) {
	c := &conn{buf: make([]byte, 1<<17)}
	err := netns.DoFile(ns, func() (err error) {
		c.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	// A kernel that does not answer must not hold the lab up.
	patience := unix.NsecToTimeval(int64(5 * time.Second))
	err = errors.Join(
		unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience),
		unix.SetsockoptInt(c.fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1),
		unix.Bind(c.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
	if err != nil {
		unix.Close(c.fd)
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	return c, nil
}

func (c *conn) close() { unix.Close(c.fd) }

// message is one netlink message that is to be sent.
type message struct {
	kind, flags uint16
	body        []byte
}

func (m message) append(b []byte, seq uint32) []byte {
	b = binary.NativeEndian.AppendUint32(b, uint32(unix.NLMSG_HDRLEN+len(m.body)))
	b = binary.NativeEndian.AppendUint16(b, m.kind)
	b = binary.NativeEndian.AppendUint16(b, m.flags|unix.NLM_F_REQUEST)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = binary.NativeEndian.AppendUint32(b, 0)
	return pad(append(b, m.body...))
}

func pad(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// errAgain is the error of a list that changed while it was read.
var errAgain = errors.New("the kernel's list changed while it was read")

// ask sends one message and gives each answer to f, until the last.
func (c *conn) ask(m message, f func(body []byte)) error {
	err := errAgain
	for tries := 0; errors.Is(err, errAgain) && tries < 20; tries++ {
		err = c.once(m, f)
	}
	return err
}

func (c *conn) once(m message, f func(body []byte)) error {
	c.seq++
	if m.flags&unix.NLM_F_DUMP == 0 {
		m.flags |= unix.NLM_F_ACK
	}
	if err := unix.Sendto(c.fd, m.append(nil, c.seq), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("ask the kernel: %w", err)
	}
	again := false
	for {
		n, _, err := unix.Recvfrom(c.fd, c.buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("hear from the kernel: %w", err)
		}
		for h, body := range messages(c.buf[:n]) {
			if h.Seq != c.seq {
				continue // of a question that was given up
			}
			again = again || h.Flags&unix.NLM_F_DUMP_INTR != 0
			switch h.Type {
			case unix.NLMSG_DONE, unix.NLMSG_ERROR:
				if code := int32(binary.NativeEndian.Uint32(body)); code != 0 {
					return unix.Errno(-code)
				}
				if again {
					return errAgain
				}
				return nil
			}
			if f != nil {
				f(body)
			}
		}
	}
}

// messages are the netlink messages in b.
func messages(b []byte) iter.Seq2[unix.NlMsghdr, []byte] {
	return func(yield func(unix.NlMsghdr, []byte) bool) {
		for len(b) >= unix.NLMSG_HDRLEN {
			h := unix.NlMsghdr{
				Len: binary.NativeEndian.Uint32(b), Type: binary.NativeEndian.Uint16(b[4:]),
				Flags: binary.NativeEndian.Uint16(b[6:]), Seq: binary.NativeEndian.Uint32(b[8:]),
			}
			if int(h.Len) < unix.NLMSG_HDRLEN || int(h.Len) > len(b) {
				return
			}
			if !yield(h, b[unix.NLMSG_HDRLEN:h.Len]) {
				return
			}
			b = b[min(len(b), (int(h.Len)+3)&^3):]
		}
	}
}

// attrs are the attributes in b, by their kinds without flags.
func attrs(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= 4 {
			n := int(binary.NativeEndian.Uint16(b))
			kind := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if n < 4 || n > len(b) {
				return
			}
			if !yield(kind, b[4:n]) {
				return
			}
			b = b[min(len(b), (n+3)&^3):]
		}
	}
}

// attr is the attribute of one kind in b, nil if there is none.
func attr(b []byte, kinds ...uint16) []byte {
	for _, want := range kinds {
		var found []byte
		for kind, data := range attrs(b) {
			if kind == want {
				found = data
				break
			}
		}
		if found == nil {
			return nil
		}
		b = found
	}
	return b
}

func put(b []byte, kind uint16, data []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(4+len(data)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	return pad(append(b, data...))
}

func putNest(b []byte, kind uint16, parts ...[]byte) []byte {
	var inner []byte
	for _, p := range parts {
		inner = append(inner, p...)
	}
	return put(b, kind|unix.NLA_F_NESTED, inner)
}

func putString(b []byte, kind uint16, s string) []byte { return put(b, kind, append([]byte(s), 0)) }

// putBig is for nftables and conntrack, whose numbers are big-endian.
func putBig(b []byte, kind uint16, n uint32) []byte {
	return put(b, kind, binary.BigEndian.AppendUint32(nil, n))
}

func putNative(b []byte, kind uint16, n uint32) []byte {
	return put(b, kind, binary.NativeEndian.AppendUint32(nil, n))
}

// text is a string attribute without its end.
func text(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

func big32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

func big64(b []byte) uint64 {
	if len(b) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func native32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}
