package nettest

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/netns"
)

// Talk opens a TCP connection from one namespace to an address in another and
// returns the source address that the far end sees.
func Talk(t testing.TB, from, to string, dst netip.Addr) netip.Addr {
	t.Helper()
	seen, err := talk(t, from, to, dst, dst, time.Minute)
	require.NoError(t, err)
	return seen
}

// TalkVia is Talk to another address, from which rules lead to dst.
func TalkVia(t testing.TB, from, to string, dst, via netip.Addr) netip.Addr {
	t.Helper()
	seen, err := talk(t, from, to, dst, via, time.Minute)
	require.NoError(t, err)
	return seen
}

// TryTalk is Talk for connections that may fail; it gives up after two seconds.
func TryTalk(t testing.TB, from, to string, dst netip.Addr) (netip.Addr, error) {
	t.Helper()
	return TryTalkVia(t, from, to, dst, dst)
}

// TryTalkVia is TryTalk to another address, from which rules lead to dst.
func TryTalkVia(t testing.TB, from, to string, dst, via netip.Addr) (netip.Addr, error) {
	t.Helper()
	return talk(t, from, to, dst, via, 2*time.Second)
}

func talk(t testing.TB, from, to string, dst, via netip.Addr, limit time.Duration) (netip.Addr, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	l, err := netns.Listen(ctx, to, "tcp", netip.AddrPortFrom(dst, 0).String())
	require.NoError(t, err)
	defer l.Close()
	seen := make(chan netip.Addr, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			seen <- c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
			c.Close()
		}
	}()
	port := l.Addr().(*net.TCPAddr).AddrPort().Port()
	c, err := netns.Dialer(from)(ctx, "tcp", netip.AddrPortFrom(via, port).String())
	if err != nil {
		return netip.Addr{}, err
	}
	defer c.Close()
	select {
	case a := <-seen:
		return a, nil
	case <-ctx.Done():
		return netip.Addr{}, ctx.Err()
	}
}
