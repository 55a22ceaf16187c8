package proxy_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/netns"
)

// answer is what a server tells: who it is, who it sees, and who it was for.
type answer struct {
	name     string
	seen, at netip.Addr     // source and destination, as the server has them
	from     netip.AddrPort // of the answer, as the client has it
}

// tell and hear are the words of an answer.
func tell(name string, seen, at net.Addr) []byte { return fmt.Appendf(nil, "%s %s %s", name, seen, at) }

func hear(text string, from net.Addr) (a answer, err error) {
	words := strings.Fields(text)
	if len(words) != 3 {
		return a, fmt.Errorf("got %q", text)
	}
	a.name, a.from = words[0], netip.MustParseAddrPort(from.String())
	a.seen, a.at = netip.MustParseAddrPort(words[1]).Addr(), netip.MustParseAddrPort(words[2]).Addr()
	return a, nil
}

// familyOf is "6" for an address of IPv6, also one of all: "[::]:8080".
func familyOf(addr string) string {
	if strings.HasPrefix(addr, "[") {
		return "6"
	}
	return "4"
}

// listenTCP answers at an address in the namespace at path until the test ends.
func listenTCP(t testing.TB, path, addr, name string) net.Listener {
	t.Helper()
	l, err := netns.Listen(context.Background(), path, "tcp"+familyOf(addr), addr)
	require.NoError(t, err)
	done := make(chan struct{})
	var echo sync.WaitGroup
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write(tell(name, c.RemoteAddr(), c.LocalAddr()))
			echo.Add(1)
			go func() { // what a client still says is said back
				defer echo.Done()
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done; echo.Wait() })
	return l
}

// held is a connection that stays open.
type held struct{ net.Conn }

// hold opens one from the namespace at path.
func hold(t testing.TB, path, addr string) held {
	t.Helper()
	c, err := netns.Dialer(path)(context.Background(), "tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	h := held{c}
	_, err = h.read()
	require.NoError(t, err)
	return h
}

func (h held) read() (string, error) {
	_ = h.SetReadDeadline(time.Now().Add(time.Minute))
	text := make([]byte, 200)
	n, err := h.Read(text)
	return string(text[:n]), err
}

// goesOn: what is said is heard again.
func (h held) goesOn(t testing.TB) {
	t.Helper()
	_, err := h.Write([]byte("still there?"))
	require.NoError(t, err)
	heard, err := h.read()
	require.NoError(t, err)
	require.Equal(t, "still there?", heard)
}

// ask opens a connection from the namespace at path and hears who answers.
func ask(path, addr string) (answer, error) { return askFor(path, addr, time.Minute) }

func askFor(path, addr string, limit time.Duration) (a answer, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	c, err := netns.Dialer(path)(ctx, "tcp", addr)
	if err != nil {
		return a, err
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(limit))
	text := make([]byte, 200)
	n, err := c.Read(text)
	if err != nil {
		return a, err
	}
	return hear(string(text[:n]), c.RemoteAddr())
}

// listenUDP answers datagrams until the test ends. The destination of an
// answer's packet is not known to the server: it tells its own address.
func listenUDP(t testing.TB, path, addr, name string) {
	t.Helper()
	c, err := netns.ListenPacket(context.Background(), path, "udp4", addr)
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 200)
		for {
			_, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = c.WriteTo(tell(name, from, c.LocalAddr()), from)
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
}

// datagrams is a client with one port.
type datagrams struct{ net.PacketConn }

func dialUDP(t testing.TB, path string) datagrams {
	t.Helper()
	c, err := netns.ListenPacket(context.Background(), path, "udp4", ":0")
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return datagrams{c}
}

func (c datagrams) ask(addr string) (a answer, err error) {
	to, err := net.ResolveUDPAddr("udp4", addr)
	if err != nil {
		return a, err
	}
	if _, err := c.WriteTo([]byte("who?"), to); err != nil {
		return a, err
	}
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	buf := make([]byte, 200)
	n, from, err := c.ReadFrom(buf)
	if err != nil {
		return a, err
	}
	return hear(string(buf[:n]), from)
}
