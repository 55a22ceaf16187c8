package trace

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/netlab/netns"
)

// reader hears all taps and the rules' events, in one goroutine, so that the
// order of each is kept, and hands everything to whoever listens.
type reader struct {
	ports Ports
	wide  bool // taps take more than packets of probes

	epoll, wake, events int // descriptors
	done                chan struct{}

	mu     sync.Mutex
	taps   map[int32]*space
	byNSID map[int]string
	ears   []*ear
	rest   *time.Timer // until the taps rest; nil: they do, or somebody listens
	flush  []chan struct{}
	closed bool
}

// linger is how long taps go on seeing packets when nobody listens any more:
// often somebody does so again soon.
const linger = time.Second

// ear collects what is heard from when it was opened on, up to mostHeard
// packets and as many events: somebody who does not listen for long loses the
// oldest.
type ear struct {
	mu     sync.Mutex
	seen   []Seen
	events []Event
	lost   bool
	news   chan struct{} // has a value if something came
}

const mostHeard = 1 << 16

// appendBounded is append for lists that lose their older half at mostHeard.
func appendBounded[T any](e *ear, list []T, x T) []T {
	if len(list) >= mostHeard {
		list, e.lost = slices.Delete(list, 0, mostHeard/2), true
	}
	return append(list, x)
}

func newReader(home *os.File, ports Ports) (*reader, error) {
	r := &reader{ports: ports, epoll: -1, wake: -1, events: -1, done: make(chan struct{}), taps: map[int32]*space{}, byNSID: map[int]string{}}
	var err error
	if r.events, err = listen(home); err != nil {
		return nil, err
	}
	if r.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err == nil {
		r.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	}
	if err == nil {
		err = errors.Join(r.watch(r.wake), r.watch(r.events))
	}
	if err != nil {
		r.shut()
		return nil, fmt.Errorf("listen to taps: %w", err)
	}
	go r.run()
	return r, nil
}

func (r *reader) watch(fd int) error {
	return unix.EpollCtl(r.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

func (r *reader) shut() {
	for _, fd := range []int{r.epoll, r.wake, r.events} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

func (r *reader) poke() { _, _ = unix.Write(r.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

func (r *reader) close() {
	r.mu.Lock()
	r.closed = true
	if r.rest != nil {
		r.rest.Stop()
	}
	r.mu.Unlock()
	r.poke()
	<-r.done
	r.shut()
}

func (r *reader) add(s *space) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taps[int32(s.tap)] = s
	r.byNSID[s.nsid] = s.Name
	if len(r.ears) > 0 {
		if err := s.heed(true); err != nil {
			return err
		}
	}
	return r.watch(s.tap)
}

func (r *reader) drop(s *space) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.taps, int32(s.tap))
	delete(r.byNSID, s.nsid)
	_ = unix.EpollCtl(r.epoll, unix.EPOLL_CTL_DEL, s.tap, nil)
}

// listen opens an ear.
func (r *reader) listen() *ear {
	e := &ear{news: make(chan struct{}, 1)}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ears = append(r.ears, e); len(r.ears) == 1 {
		r.heed(true)
		if r.rest != nil {
			r.rest.Stop()
			r.rest = nil
		}
	}
	return e
}

func (r *reader) deafen(e *ear) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ears = slices.DeleteFunc(r.ears, func(x *ear) bool { return x == e }); len(r.ears) == 0 {
		r.heed(false)
		r.rest = time.AfterFunc(linger, r.doze)
	}
}

// heed has all taps see what passes, or nothing.
func (r *reader) heed(on bool) {
	for _, s := range r.taps {
		_ = s.heed(on) // none of it can fail on such a socket
	}
}

// doze has all taps rest, if nobody listens.
func (r *reader) doze() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.rest == nil || len(r.ears) > 0 {
		return
	}
	r.rest = nil
	var all sync.WaitGroup // each waits for the kernel; together they wait once
	for _, s := range r.taps {
		all.Go(func() { _ = s.rest() })
	}
	all.Wait()
}

// settle returns when everything that the kernel had to say has been heard.
func (r *reader) settle() {
	done := make(chan struct{})
	r.mu.Lock()
	r.flush = append(r.flush, done)
	r.mu.Unlock()
	r.poke()
	select {
	case <-done:
	case <-r.done:
	}
}

func (r *reader) run() {
	defer close(r.done)
	ready := make([]unix.EpollEvent, 64)
	buf := make([]byte, 1<<16)
	for {
		n, err := unix.EpollWait(r.epoll, ready, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		if r.round(ready[:max(n, 0)], buf) {
			return
		}
	}
}

// round reads what is ready; of everybody if somebody waits for it.
func (r *reader) round(ready []unix.EpollEvent, buf []byte) (closed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	waiting := r.flush
	r.flush = nil
	heard := func(e *ear, f func()) {
		e.mu.Lock()
		f()
		e.mu.Unlock()
		select {
		case e.news <- struct{}{}:
		default:
		}
	}
	tap := func(s *space) {
		s.readTap(r.ports, func(x Seen) {
			for _, e := range r.ears {
				heard(e, func() { e.seen = appendBounded(e, e.seen, x) })
			}
		})
	}
	for _, x := range ready {
		if x.Fd == int32(r.wake) {
			var b [8]byte
			_, _ = unix.Read(r.wake, b[:])
		} else if s := r.taps[x.Fd]; s != nil && waiting == nil {
			tap(s)
		}
	}
	if waiting != nil {
		for _, s := range r.taps {
			tap(s)
		}
	}
	lost := hear(r.events, buf, r.ports, func(id int, x Event) {
		x.Space = r.byNSID[id]
		for _, e := range r.ears {
			heard(e, func() { e.events = appendBounded(e, e.events, x) })
		}
	})
	for _, e := range r.ears {
		e.mu.Lock()
		e.lost = e.lost || lost
		e.mu.Unlock()
	}
	for _, c := range waiting {
		close(c)
	}
	return r.closed
}

func handleAt(ns *os.File) (nl *netlink.Handle, err error) {
	err = netns.DoFile(ns, func() error {
		nl, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	return nl, err
}

// stampsPatience is how long the kernel may take to begin with times on packets:
// a worker of its own does it, which waits for its turn.
const stampsPatience = 30 * time.Second

// awaitStamps returns when the kernel puts times on packets. It begins to do so
// some time after the first socket asked for it.
func awaitStamps(ns *os.File) error {
	var a, b int
	err := netns.DoFile(ns, func() (err error) {
		if a, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err == nil {
			b, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		}
		return err
	})
	if err != nil {
		return err
	}
	defer unix.Close(a)
	defer unix.Close(b)
	patience := unix.NsecToTimeval(int64(time.Second))
	err = errors.Join(
		unix.SetsockoptInt(a, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		unix.SetsockoptTimeval(a, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience),
		unix.Bind(a, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	if err != nil {
		return err
	}
	at, err := unix.Getsockname(a)
	if err != nil {
		return err
	}
	var buf [8]byte
	var control [64]byte
	for end := time.Now().Add(stampsPatience); time.Now().Before(end); {
		if err := unix.Sendto(b, buf[:1], 0, at); err != nil {
			return fmt.Errorf("loopback: %w", err)
		}
		sent := time.Now().UnixNano()
		time.Sleep(time.Millisecond)
		_, n, _, _, err := unix.Recvmsg(a, buf[:], control[:], 0)
		if err != nil {
			return fmt.Errorf("loopback: %w", err)
		}
		if stamp(control[:n]) < sent+int64(time.Millisecond)/2 {
			return nil
		}
	}
	return errors.New("the kernel puts no times on packets")
}
