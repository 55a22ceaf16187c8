package overlay_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/overlay"
)

// spot is a pod that packets are sent from and to.
type spot struct {
	path    string
	ip, ip6 netip.Addr
}

// to is the address of a family, and what to call a socket of it.
func (s spot) to(six bool) (addr, suffix string) {
	if six {
		return netip.AddrPortFrom(s.ip6, 0).String(), "6"
	}
	return netip.AddrPortFrom(s.ip, 0).String(), "4"
}

func spots(t testing.TB, nodes ...*node) (list []spot) {
	t.Helper()
	for i, n := range nodes {
		list = append(list, n.spot(t, fmt.Sprint("pod-", i, "-", n.Name)))
	}
	return list
}

// What is left of the MTU of pods' links, by family.
var largest = map[bool]int{false: overlay.PodMTU6(1500) - 20 - 8, true: overlay.PodMTU6(1500) - 40 - 8}

// flow sends the largest packets that pods may send, and one that must not pass
// unheard, from each to each by both families; both ends compare the addresses
// that they see.
func flow(t testing.TB, list []spot, what string) {
	t.Helper()
	for _, from := range list {
		for _, to := range list {
			for six, size := range largest {
				if from != to {
					require.NoError(t, echoFor(from, to, size, six, time.Minute), "%s: %s to %s, IPv6 %t", what, from.ip, to.ip, six)
					require.ErrorIs(t, echo(from, to, size+1, six), unix.EMSGSIZE, what)
				}
			}
		}
	}
}

// echoFor is echo for whoever sends again what was lost, as users of UDP have to:
// when neighbours or speakers have only just found each other a packet may be.
func echoFor(from, to spot, size int, six bool, limit time.Duration) error {
	for end, try := time.Now().Add(limit), 2*time.Second; ; try *= 2 {
		err := echoOnce(from, to, size, six, try)
		var late net.Error
		if !errors.As(err, &late) || !late.Timeout() || time.Now().After(end) {
			return err
		}
	}
}

// echo sends size bytes by UDP, which nobody may cut in pieces, and wants them
// back. It gives up after two seconds.
func echo(from, to spot, size int, six bool) error {
	return echoOnce(from, to, size, six, 2*time.Second)
}

func echoOnce(from, to spot, size int, six bool, limit time.Duration) error {
	ctx := context.Background()
	addr, suffix := to.to(six)
	far, err := netns.ListenPacket(ctx, to.path, "udp"+suffix, addr)
	if err != nil {
		return err
	}
	defer far.Close()
	addr, _ = from.to(six)
	near, err := netns.ListenPacket(ctx, from.path, "udp"+suffix, addr)
	if err != nil {
		return err
	}
	defer near.Close()
	raw, err := near.(*net.UDPConn).SyscallConn()
	if err != nil {
		return err
	}
	_ = raw.Control(func(fd uintptr) {
		if six {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO)
		} else {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
		}
	})
	if err != nil {
		return err
	}
	if _, err := near.WriteTo(make([]byte, size), far.LocalAddr()); err != nil {
		return err
	}
	buf := make([]byte, 1<<16)
	for _, leg := range []struct {
		at, to, want net.PacketConn
	}{{at: far, to: far, want: near}, {at: near, want: far}} {
		_ = leg.at.SetReadDeadline(time.Now().Add(limit))
		n, src, err := leg.at.ReadFrom(buf)
		if err != nil {
			return err
		}
		if src.String() != leg.want.LocalAddr().String() || n != size {
			return fmt.Errorf("%d bytes from %s instead of %d from %s", n, src, size, leg.want.LocalAddr())
		}
		if leg.to != nil {
			if _, err := leg.to.WriteTo(buf[:n], src); err != nil {
				return err
			}
		}
	}
	return nil
}

// transfer sends many bytes by TCP and compares what arrives.
func transfer(t testing.TB, from, to spot, bytes int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	l, err := netns.Listen(ctx, to.path, "tcp4", netip.AddrPortFrom(to.ip, 0).String())
	require.NoError(t, err)
	defer l.Close()
	got := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			got <- err.Error()
			return
		}
		defer c.Close()
		sum := sha256.New()
		if n, err := io.Copy(sum, c); err != nil || n != bytes {
			got <- fmt.Sprint(n, " bytes ", err)
			return
		}
		got <- fmt.Sprintf("%x", sum.Sum(nil))
	}()
	c, err := netns.Dialer(from.path)(ctx, "tcp4", l.Addr().String())
	require.NoError(t, err)
	sum := sha256.New()
	_, err = io.CopyN(io.MultiWriter(c, sum), rand.NewChaCha8([32]byte{1}), bytes)
	require.NoError(t, err)
	require.NoError(t, c.Close())
	select {
	case have := <-got:
		require.Equal(t, fmt.Sprintf("%x", sum.Sum(nil)), have)
	case <-ctx.Done():
		t.Fatal("the transfer did not end")
	}
}

// From every backend to every other one, with pods that stay.
func TestEverySwitch(t *testing.T) {
	c := build(t, context.Background(), 3)
	c.use(t, overlay.VXLAN)
	pods := spots(t, c.nodes...)
	flow(t, pods, "at first")
	v, h, u, b := overlay.VXLAN, overlay.HostGW, overlay.UDP, overlay.BGP
	was := v
	for _, kind := range []string{h, v, u, v, b, h, u, h, b, u, b, v} { // each pair once
		c.use(t, kind)
		flow(t, pods, was+" to "+kind)
		transfer(t, pods[0], pods[2], 8<<20)
		was = kind
	}
}

// A connection of each family lives through every change of the backend.
func TestConnectionsOutliveSwitches(t *testing.T) {
	c := build(t, context.Background(), 2)
	c.use(t, overlay.VXLAN)
	pods := spots(t, c.nodes...)
	var open []net.Conn
	for _, six := range []bool{false, true} {
		addr, suffix := pods[1].to(six)
		l, err := netns.Listen(t.Context(), pods[1].path, "tcp"+suffix, addr)
		require.NoError(t, err)
		t.Cleanup(func() { l.Close() })
		go func() {
			if c, err := l.Accept(); err == nil {
				_, _ = io.Copy(c, c)
				c.Close()
			}
		}()
		conn, err := netns.Dialer(pods[0].path)(t.Context(), "tcp"+suffix, l.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		open = append(open, conn)
	}
	for i, kind := range []string{overlay.UDP, overlay.BGP, overlay.HostGW, overlay.VXLAN} {
		c.use(t, kind)
		for _, conn := range open {
			text := fmt.Appendf(nil, "message %d", i)
			require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
			_, err := conn.Write(text)
			require.NoError(t, err)
			got := make([]byte, len(text))
			_, err = io.ReadFull(conn, got)
			require.NoError(t, err, "%s after the change to %s", conn.RemoteAddr(), kind)
			require.Equal(t, text, got)
		}
	}
}

// A node whose agent is dead keeps what it has; others reach it and each other
// meanwhile, and when it comes back it follows.
func TestAgentDiesInTheMiddle(t *testing.T) {
	c := build(t, context.Background(), 3)
	c.use(t, overlay.VXLAN)
	pods := spots(t, c.nodes...)
	one, two, three := c.nodes[0], c.nodes[1], c.nodes[2]
	was := overlay.VXLAN
	for _, kind := range []string{overlay.HostGW, overlay.UDP, overlay.BGP, overlay.VXLAN} {
		two.agent.kill()
		dead := []spot{pods[0], pods[2]}
		if was != overlay.UDP { // whose forwarder has died
			dead = pods
		}
		flow(t, dead, "dead agent, "+was)
		require.Empty(t, one.use(t, kind, c.leases()).Err)
		require.Empty(t, three.use(t, kind, c.leases()).Err)
		for _, n := range []*node{one, three} {
			n.agent.do(t, order{Leases: c.leases()})
		}
		flow(t, dead, was+" to "+kind+" with a dead agent")
		one.restart(t) // and one that dies after it has changed
		require.Empty(t, one.use(t, kind, c.leases()).Err)
		two.agent = startAgent(t, two.path, two.Node)
		require.Empty(t, two.use(t, kind, c.leases()).Err)
		c.settle(t)
		flow(t, pods, "all are back with "+kind)
		was = kind
	}
}

// Whatever happens in whatever order: when it is quiet, packets flow by one
// backend, and nothing else is left.
func TestRandomSwitches(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("KLAB_SEED"); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
	}
	r := rand.New(rand.NewPCG(seed, 0))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("again with KLAB_SEED=%d", seed)
		}
	})
	c := build(t, context.Background(), 3)
	c.use(t, overlay.VXLAN)
	pods := spots(t, c.nodes...)
	for range 6 {
		kind, did := overlay.Types[r.IntN(len(overlay.Types))], []string{}
		for range 1 + r.IntN(4) {
			n := c.nodes[r.IntN(3)]
			line := []string{
				"", "", "ip link del flannel.1; ip -6 route flush proto bgp", "ip link del flannel0; ip link del flannel-v6.1", "ip route flush proto bgp",
				"ip link set eth0 down; ip link set eth0 up", "ip route flush root 10.244.0.0/16 dev eth0",
			}[r.IntN(7)]
			switch {
			case line != "":
				_, _ = nettest.Try(n.path, line) // what is not there cannot be removed
			case r.IntN(2) == 0:
				n.restart(t)
				require.Empty(t, n.use(t, overlay.Types[r.IntN(len(overlay.Types))], c.leases()).Err)
			default:
				require.Empty(t, n.use(t, kind, c.leases()).Err)
			}
			did = append(did, n.Name+": "+line)
		}
		c.use(t, kind)
		flow(t, pods, kind+" after "+strings.Join(did, ", "))
	}
}
