package policy_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/netns"
)

// fate is what became of a packet.
type fate string

const (
	answered fate = "answered"
	rejected fate = "rejected"
	lost     fate = "lost"
)

// How long a packet may be under way before it is sent again, and before it
// counts as lost: a TCP connection learns of a rejection when it tries again,
// after a second, and a busy machine is slow.
const (
	oneTry   = 4 * time.Second
	patience = time.Minute
)

// again tries until there is an answer or patience is at its end.
func again(try func(context.Context) (fate, error)) (f fate, err error) {
	for end, limit := time.Now().Add(patience), oneTry; ; limit *= 2 {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		f, err = try(ctx)
		cancel()
		if f != lost || err != nil || time.Now().After(end) {
			return f, err
		}
	}
}

// send sends a packet from where it begins and returns its fate.
func (l *lab) send(s shot) (fate, error) {
	return again(func(ctx context.Context) (fate, error) { return l.sendOnce(ctx, s) })
}

func (l *lab) sendOnce(ctx context.Context, s shot) (fate, error) {
	end, _ := ctx.Deadline()
	from, to := l.paths[s.from], netip.AddrPortFrom(s.To, uint16(s.Port)).String()
	var err error
	switch s.Protocol {
	case "TCP":
		var c net.Conn
		if c, err = netns.Dialer(from)(ctx, "tcp4", to); err == nil {
			_ = c.SetDeadline(end)
			var got []byte
			got, err = io.ReadAll(c)
			if err == nil && string(got) != s.to.String() {
				err = fmt.Errorf("%q answered", got)
			}
			_ = c.Close()
		}
	case "UDP":
		err = askUDP(ctx, from, to, s.to.String())
	case "SCTP":
		return initSCTP(ctx, from, s)
	default:
		return ping(ctx, from, s.To)
	}
	return fateOf(err)
}

func fateOf(err error) (fate, error) {
	var timeout net.Error
	switch {
	case err == nil:
		return answered, nil
	case errors.Is(err, syscall.ECONNREFUSED):
		return rejected, nil
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, syscall.EHOSTUNREACH): // neighbours may be too slow to find each other
		return lost, nil
	}
	return "", err
}

func echoTCP(t testing.TB, path string, port int, name string) {
	t.Helper()
	l, err := netns.Listen(context.Background(), path, "tcp4", fmt.Sprint(":", port))
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, name)
			_ = c.Close()
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
}

// echoUDP answers from the address that was asked; a socket of all addresses
// would answer from the one that leads back.
func echoUDP(t testing.TB, path, addr, name string) {
	t.Helper()
	c, err := netns.ListenPacket(context.Background(), path, "udp4", addr)
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 100)
		for {
			_, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = c.WriteTo([]byte(name), from)
		}
	})
	t.Cleanup(func() { c.Close(); wg.Wait() })
}

func askUDP(ctx context.Context, path, to, want string) error {
	c, err := netns.Dialer(path)(ctx, "udp4", to)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write([]byte("who?")); err != nil {
		return err
	}
	end, _ := ctx.Deadline()
	_ = c.SetReadDeadline(end)
	buf := make([]byte, 100)
	n, err := c.Read(buf)
	if err == nil && string(buf[:n]) != want {
		err = fmt.Errorf("%q answered", buf[:n])
	}
	return err
}

// takeSCTP answers INIT chunks with ABORT until the test ends. What SCTP needs
// of a host is written here: the kernel of the machine may not speak it.
func takeSCTP(t testing.TB, path string) {
	t.Helper()
	c, err := netns.ListenPacket(context.Background(), path, "ip4:132", "")
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 200)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			if n >= 20 && buf[12] == 1 { // INIT
				abort := chunk(binary.BigEndian.Uint16(buf[2:]), binary.BigEndian.Uint16(buf), binary.BigEndian.Uint32(buf[16:]), 6, nil)
				_, _ = c.WriteTo(abort, from)
			}
		}
	})
	t.Cleanup(func() { c.Close(); wg.Wait() })
}

// chunk is a packet of SCTP with one chunk (RFC 9260).
func chunk(from, to uint16, tag uint32, kind byte, body []byte) []byte {
	b := make([]byte, 16, 16+len(body))
	binary.BigEndian.PutUint16(b, from)
	binary.BigEndian.PutUint16(b[2:], to)
	binary.BigEndian.PutUint32(b[4:], tag)
	b[12] = kind
	binary.BigEndian.PutUint16(b[14:], uint16(4+len(body)))
	b = append(b, body...)
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return b
}

func initSCTP(ctx context.Context, path string, s shot) (fate, error) {
	from, tag := uint16(20000+rand.IntN(40000)), rand.Uint32()|1
	body := make([]byte, 16)
	binary.BigEndian.PutUint32(body, tag)
	binary.BigEndian.PutUint32(body[4:], 65536)
	binary.BigEndian.PutUint16(body[8:], 1)
	binary.BigEndian.PutUint16(body[10:], 1)
	return raw(ctx, path, "ip4:132", s.To, chunk(from, uint16(s.Port), 0, 1, body),
		func(b []byte) bool { return len(b) >= 16 && binary.BigEndian.Uint16(b[2:]) == from && b[12] == 6 },
		func(quoted []byte) bool { return binary.BigEndian.Uint16(quoted) == from })
}

func ping(ctx context.Context, path string, to netip.Addr) (fate, error) {
	id := uint16(rand.Uint32())
	b := make([]byte, 16)
	b[0] = 8
	binary.BigEndian.PutUint16(b[4:], id)
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	sum = sum&0xffff + sum>>16
	binary.BigEndian.PutUint16(b[2:], ^uint16(sum))
	return raw(ctx, path, "ip4:icmp", to, b,
		func(b []byte) bool { return b[0] == 0 && binary.BigEndian.Uint16(b[4:]) == id },
		func(quoted []byte) bool { return binary.BigEndian.Uint16(quoted[4:]) == id })
}

// raw sends a packet of a protocol of IP, and waits for its answer or for an
// ICMP message that quotes it.
func raw(ctx context.Context, path, network string, to netip.Addr, packet []byte, answers, quotes func([]byte) bool) (fate, error) {
	found := make(chan fate, 2)
	var wg sync.WaitGroup
	defer wg.Wait()
	listen := func(network string, look func([]byte) fate) (net.PacketConn, error) {
		c, err := netns.ListenPacket(context.Background(), path, network, "")
		if err != nil {
			return nil, err
		}
		wg.Go(func() {
			for buf := make([]byte, 1500); ; {
				n, _, err := c.ReadFrom(buf)
				if err != nil {
					return
				}
				if f := look(buf[:n]); f != "" {
					found <- f
					return
				}
			}
		})
		return c, nil
	}
	errs, err := listen("ip4:icmp", func(b []byte) fate {
		if len(b) >= 36 && b[0] == 3 && b[1] == 3 && quotes(b[28:]) {
			return rejected
		}
		return ""
	})
	if err != nil {
		return "", err
	}
	defer errs.Close()
	c, err := listen(network, func(b []byte) fate {
		if answers(b) {
			return answered
		}
		return ""
	})
	if err != nil {
		return "", err
	}
	defer c.Close()
	if _, err := c.WriteTo(packet, &net.IPAddr{IP: to.AsSlice()}); err != nil {
		return fateOf(err)
	}
	select {
	case f := <-found:
		return f, nil
	case <-ctx.Done():
		return lost, nil
	}
}
