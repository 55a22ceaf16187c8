package overlay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/osrg/gobgp/v4/pkg/server"
	"golang.org/x/sys/unix"
)

// caller opens the connections from one speaker to another one, and hands them
// to GoBGP as if its listener had accepted them: GoBGP itself would wait for 1.5
// to 2 seconds before each. (docs/decisions/0021)
//
// It calls when its own speaker waits for a connection, and hands over what the
// other one has sent its OPEN on: a connection that the other one does not want
// yet ends unseen, and costs neither of them an idle hold time of 5 seconds.
type caller struct {
	from, to netip.Addr
	door     chan<- net.Conn

	waits atomic.Bool   // the speaker is in the state Active
	turn  chan struct{} // it has come there
	stop  context.CancelFunc
	done  chan struct{}
}

// How long a caller pauses between two calls, and waits for the other one.
const (
	firstPause = 10 * time.Millisecond
	lastPause  = 250 * time.Millisecond
	callTime   = 10 * time.Second
)

// doorOf is where GoBGP takes in what its listener accepts. It has no name
// outside of GoBGP, and exists when its BGP runs.
func doorOf(b *server.BgpServer) (chan<- net.Conn, error) {
	f := reflect.ValueOf(b).Elem().FieldByName("acceptCh")
	if !f.IsValid() || f.Type() != reflect.TypeFor[chan net.Conn]() {
		return nil, errors.New("this version of GoBGP takes in no connections by acceptCh; see docs/decisions/0021")
	}
	return *(*chan net.Conn)(f.Addr().UnsafePointer()), nil
}

func newCaller(from, to netip.Addr, door chan<- net.Conn) *caller {
	ctx, stop := context.WithCancel(context.Background())
	c := &caller{from: from, to: to, door: door, turn: make(chan struct{}, 1), stop: stop, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		c.run(ctx)
	}()
	return c
}

// state tells whether the speaker waits for a connection.
func (c *caller) state(waits bool) {
	if c.waits.Store(waits); !waits {
		return
	}
	select {
	case c.turn <- struct{}{}:
	default:
	}
}

// close ends it; nothing is handed over any more.
func (c *caller) close() {
	c.stop()
	<-c.done
}

func (c *caller) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.turn:
		}
		for pause := firstPause; c.waits.Load(); pause = min(2*pause, lastPause) {
			if conn, err := c.call(ctx); err == nil {
				c.hand(ctx, conn)
				continue
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
		}
	}
}

// hand gives a connection to the speaker, if it still waits for one.
func (c *caller) hand(ctx context.Context, conn net.Conn) {
	if c.waits.Swap(false) {
		select {
		case c.door <- conn:
			return
		case <-ctx.Done():
		}
	}
	conn.Close()
}

// call returns a connection on which the other speaker has said something.
func (c *caller) call(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: c.from.AsSlice()}, KeepAlive: -1}
	conn, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(c.to, bgpPort).String())
	if err != nil {
		return nil, err
	}
	if err := hears(ctx, conn.(*net.TCPConn)); err != nil {
		conn.Close()
		return nil, fmt.Errorf("%s says nothing: %w", c.to, err)
	}
	return conn, nil
}

// hears waits for the first byte, and leaves it where it is.
func hears(ctx context.Context, conn *net.TCPConn) error {
	over := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	n, peeked := 0, error(nil)
	err = raw.Read(func(fd uintptr) bool {
		n, _, peeked = unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK)
		return !errors.Is(peeked, unix.EAGAIN)
	})
	switch {
	case !over():
		return ctx.Err()
	case err != nil:
		return err
	case peeked == nil && n == 0:
		return errors.New("it has ended the connection")
	}
	return peeked
}
