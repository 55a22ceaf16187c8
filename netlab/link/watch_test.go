package link_test

import (
	"context"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/nettest"
)

// What others do by hand is heard of: links, addresses and routes.
func TestWatch(t *testing.T) {
	n := open(t, "a")
	ctx, cancel := context.WithCancel(t.Context())
	var heard atomic.Int64
	ended := make(chan error, 1)
	go func() { ended <- n.Watch(ctx, func() { heard.Add(1) }) }()
	await := func(after int64, what string) {
		require.Eventually(t, func() bool { return heard.Load() > after }, time.Minute, time.Millisecond, what)
	}
	await(0, "it has begun")
	for _, line := range []string{
		"ip link add d0 type bridge", "ip link set d0 up", "ip addr add 10.7.0.1/24 dev d0", "ip route add 10.8.0.0/24 via 10.7.0.2",
		"ip -6 route add fd00:8::/64 dev d0", "ip route del 10.8.0.0/24", "ip link del d0",
	} {
		before := heard.Load()
		nettest.Run(t, n.Path(), line)
		await(before, line)
	}
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
}

// A look at all routes does not mind that a link has gone since links were listed.
func TestRoutesOfLinksThatGo(t *testing.T) {
	n := open(t, "a")
	nettest.Run(t, n.Path(), "ip link add d0 type bridge; ip addr add 10.7.0.1/24 dev d0; ip link set d0 up; ip route add 10.8.0.0/24 via 10.7.0.2")
	nettest.Run(t, n.Path(), "ip link add d1 type bridge; ip addr add 10.9.0.1/24 dev d1; ip link set d1 up; ip route add default via 10.9.0.2")
	links, err := n.Links()
	require.NoError(t, err)
	nettest.Run(t, n.Path(), "ip link del d0")
	routes, err := n.RoutesOf(links)
	require.NoError(t, err)
	want := link.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("10.9.0.2"), Dev: "d1"}
	require.Contains(t, routes, want)
	for _, r := range routes {
		require.Equal(t, "d1", r.Dev)
	}
}
