package fault

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/netlab/link"
)

// The numbers of linux/netfilter/nfnetlink_queue.h.
const (
	queuePacket, queueConfig, queueVerdicts = 3 << 8, 3<<8 | 2, 3<<8 | 3 // of NFNL_SUBSYS_QUEUE
	queueCommand, queueParams, queueMost    = 1, 2, 3
	queueMask, queueFlags, queueWhole       = 4, 5, 1 << 2 // a large packet stays in one piece
	queueBind, queueMeta                    = 1, 1
	packetHeader, verdictHeader             = 1, 2
)

// mostHeld is how many packets one link holds back: as many as netem does.
// What is more is lost, as on a line that is full.
const mostHeld = 1000

// queue holds back the packets that the kernel hands to it, each for the same
// time, and lets them go in their order. Only their numbers come out of the
// kernel. When its owner dies, the kernel lets all others pass (bypass).
type queue struct {
	fd, wake int
	wait     time.Duration
	alive    func() bool // the namespace is the lab's still
	held     []held
	done     chan struct{}
}

type held struct {
	id  uint32
	due time.Time
}

// openQueue begins to answer for a queue of a namespace.
func openQueue(n *link.Net, number uint16, wait time.Duration) (*queue, error) {
	mine, err := os.Stat(n.Path())
	if err != nil {
		return nil, err
	}
	path := n.Path()
	q := &queue{wait: wait, done: make(chan struct{}), alive: func() bool {
		now, err := os.Stat(path)
		return err == nil && os.SameFile(mine, now)
	}}
	err = n.Do(func() error {
		s, err := netfilter()
		q.fd = int(s)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err = q.bind(number); err == nil {
		q.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	}
	if err != nil {
		unix.Close(q.fd)
		return nil, fmt.Errorf("take packets from queue %d: %w", number, err)
	}
	go q.run()
	return q, nil
}

func (q *queue) bind(number uint16) error {
	_ = unix.SetsockoptInt(q.fd, unix.SOL_NETLINK, unix.NETLINK_NO_ENOBUFS, 1)
	be := binary.BigEndian.AppendUint32
	command := attribute(queueCommand, []byte{queueBind, 0, 0, 0})
	settings := attribute(queueParams, append(be(nil, 0), queueMeta))
	settings = append(settings, attribute(queueMost, be(nil, mostHeld))...)
	settings = append(settings, attribute(queueFlags, be(nil, queueWhole))...)
	settings = append(settings, attribute(queueMask, be(nil, queueWhole))...)
	for _, body := range [][]byte{command, settings} {
		if err := sock(q.fd).ask(message(queueConfig, unix.NLM_F_REQUEST|unix.NLM_F_ACK, unix.AF_UNSPEC, number, body)); err != nil {
			return err
		}
	}
	return unix.SetNonblock(q.fd, true)
}

// close lets go of all that is held, and ends.
func (q *queue) close() {
	_, _ = unix.Write(q.wake, binary.NativeEndian.AppendUint64(nil, 1))
	<-q.done
	unix.Close(q.wake)
}

// look is how often the queue asks whether its namespace is there still: its
// socket would keep it.
const look = time.Second

func (q *queue) run() {
	defer close(q.done)
	defer unix.Close(q.fd)
	buf, looked, number := make([]byte, 1<<16), time.Now(), uint16(0)
	for {
		rest := look
		if len(q.held) > 0 {
			rest = max(0, min(rest, time.Until(q.held[0].due)))
		}
		fds := []unix.PollFd{{Fd: int32(q.fd), Events: unix.POLLIN}, {Fd: int32(q.wake), Events: unix.POLLIN}}
		limit := unix.NsecToTimespec(int64(rest))
		_, _ = unix.Ppoll(fds, &limit, nil)
		for fds[0].Revents != 0 {
			size, _, err := unix.Recvfrom(q.fd, buf, 0)
			if err != nil {
				break
			}
			number = q.take(buf[:size], number)
		}
		if fds[1].Revents != 0 {
			q.release(number, time.Now().Add(q.wait))
			return
		}
		q.release(number, time.Now())
		if now := time.Now(); now.Sub(looked) >= look {
			if looked = now; !q.alive() {
				return
			}
		}
	}
}

// take keeps the numbers of the packets in messages of the kernel, and returns
// the number of their queue.
func (q *queue) take(b []byte, number uint16) uint16 {
	due := time.Now().Add(q.wait)
	for len(b) >= unix.SizeofNlMsghdr+4 {
		size := min(len(b), int(binary.NativeEndian.Uint32(b)))
		if size < unix.SizeofNlMsghdr+4 {
			return number
		}
		if binary.NativeEndian.Uint16(b[4:]) == queuePacket {
			number = binary.BigEndian.Uint16(b[unix.SizeofNlMsghdr+2:])
			if id, ok := packetID(b[unix.SizeofNlMsghdr+4 : size]); ok {
				q.held = append(q.held, held{id, due})
			}
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return number
}

func packetID(attrs []byte) (uint32, bool) {
	for len(attrs) >= 4 {
		size := int(binary.NativeEndian.Uint16(attrs))
		if size < 4 || size > len(attrs) {
			return 0, false
		}
		if binary.NativeEndian.Uint16(attrs[2:]) == packetHeader && size >= 8 {
			return binary.BigEndian.Uint32(attrs[4:]), true
		}
		attrs = attrs[min(len(attrs), (size+3)&^3):]
	}
	return 0, false
}

// release lets the packets go that are due: one word for all up to the last.
func (q *queue) release(number uint16, now time.Time) {
	n := 0
	for n < len(q.held) && !q.held[n].due.After(now) {
		n++
	}
	if n == 0 {
		return
	}
	const accept = 1 // NF_ACCEPT
	verdict := binary.BigEndian.AppendUint32(be32(accept), q.held[n-1].id)
	text := message(queueVerdicts, unix.NLM_F_REQUEST, unix.AF_UNSPEC, number, attribute(verdictHeader, verdict))
	err := unix.Sendto(q.fd, text, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	if !errors.Is(err, unix.EAGAIN) {
		q.held = append(q.held[:0], q.held[n:]...)
	}
}
