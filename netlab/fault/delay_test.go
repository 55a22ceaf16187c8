package fault_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/netlab/fault"
	"github.com/klab-project/klab/netlab/labtest"
	"github.com/klab-project/klab/netlab/netns"
)

const held = 80 * time.Millisecond

// delayed is the shortest of some ways of a datagram and its answer; packets of
// the kernel's own, such as questions for neighbours, are not in it.
func (l *lab) delayed(t *testing.T, from, to string) time.Duration {
	t.Helper()
	return shortest(t, l.ns[from], netip.AddrPortFrom(l.ip[to], 8080))
}

func shortest(t *testing.T, from string, to netip.AddrPort) time.Duration {
	t.Helper()
	c, err := netns.ListenPacket(context.Background(), from, "udp", ":0")
	require.NoError(t, err)
	defer c.Close()
	best, buf, end := time.Hour, make([]byte, 100), time.Now().Add(patience)
	for size, heard := 1, 0; heard < 10; size++ { // by the size one knows which is answered
		require.True(t, time.Now().Before(end), "too few answers within %s", patience)
		start := time.Now()
		_, err := c.WriteTo(make([]byte, size), net.UDPAddrFromAddrPort(to))
		require.NoError(t, err)
		_ = c.SetReadDeadline(start.Add(5 * time.Second)) // then it is lost, as while neighbours are too slow to find each other
		for of := 0; of != size; {
			n, _, err := c.ReadFrom(buf)
			if err != nil {
				break
			}
			words := strings.Fields(string(buf[:n]))
			of, err = strconv.Atoi(words[len(words)-1])
			require.NoError(t, err)
			if of == size {
				best, heard = min(best, time.Since(start)), heard+1
			}
		}
	}
	return best
}

// quick waits for an answer that comes sooner than one that is held.
func quick(t *testing.T, from string, to netip.Addr) {
	t.Helper()
	require.Eventually(t, func() bool { return shortest(t, from, netip.AddrPortFrom(to, 8080)) < held }, patience, time.Millisecond)
}

// What goes to a node or a pod takes that much longer, in every direction of
// which it is a part, and nothing else does. The delay ends with whoever keeps
// it: packets pass then, and it comes back when the lab is taken up again.
func TestDelay(t *testing.T) {
	l := build(t)
	ctx := context.Background()
	l.works(t, []way{toNear, toFar, bToFar})
	before := l.dump(t)
	for _, x := range []struct{ target, from, to, other string }{
		{"node-2", "client", "c", "a"}, // of which the question is held
		{"client", "client", "a", ""},  // and here the answer
	} {
		ask := fault.Ask{Card: "delay", Target: x.target, Args: map[string]string{"ms": fmt.Sprint(held.Milliseconds())}}
		f, err := l.book.Break(ctx, ask)
		require.NoError(t, err)
		require.GreaterOrEqual(t, l.delayed(t, x.from, x.to), held, x.target)
		if x.other != "" {
			quick(t, l.ns[x.from], l.ip[x.other]) // not on the way
		}
		_, err = l.book.Mend(ctx, f.ID)
		require.NoError(t, err)
		l.same(t, before, "after a delay of "+x.target)
		quick(t, l.ns[x.from], l.ip[x.to])

		look := fault.Lab{Nodes: l.nodes, UnderlayNS: l.UnderlayNS(), Netem: netem()}
		l.die(t, deed{Dir: l.book.Dir, Lab: look, Ask: ask, Die: 1, NS: l.ns[x.target]})
		l.works(t, []way{toNear, toFar, nearService, farService})
		next := l.newBook()
		require.NoError(t, next.Renew(ctx))
		if !netem() {
			require.GreaterOrEqual(t, l.delayed(t, x.from, x.to), held, "%s, made again", x.target)
			require.NoError(t, next.Kinds.Close())
			quick(t, l.ns[x.from], l.ip[x.to]) // nobody keeps it
		}
		_, err = next.MendAll(ctx)
		require.NoError(t, err)
		l.same(t, before, "after a delay whose owner died")
	}
}

// netem tells whether this kernel has it: then a delay is in the kernel alone.
func netem() bool {
	return netns.Isolate(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		return exec.Command("tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms").Run()
	}) == nil
}

// Many packets at once are let go in the order in which they came.
func TestDelayKeepsTheOrder(t *testing.T) {
	l := build(t)
	ctx := context.Background()
	_, err := l.book.Break(ctx, fault.Ask{Card: "delay", Target: "a", Args: map[string]string{"ms": "30"}})
	require.NoError(t, err)
	l.works(t, []way{{"client", "a", "a", 4 << 20}}) // in pieces of 64 KiB
	to, err := netns.ListenPacket(ctx, l.ns["a"], "udp4", ":7")
	require.NoError(t, err)
	defer to.Close()
	from, err := netns.ListenPacket(ctx, l.ns["client"], "udp4", ":0")
	require.NoError(t, err)
	defer from.Close()
	inOrder := func(round byte) bool {
		const all = 100
		for i := range all {
			_, err := from.WriteTo([]byte{round, byte(i)}, net.UDPAddrFromAddrPort(netip.AddrPortFrom(l.ip["a"], 7)))
			require.NoError(t, err)
		}
		_ = to.SetReadDeadline(time.Now().Add(5 * time.Second))
		for i := 0; i < all; {
			buf := make([]byte, 10)
			if _, _, err := to.ReadFrom(buf); err != nil {
				return false
			}
			if buf[0] != round {
				continue
			}
			if int(buf[1]) != i {
				return false
			}
			i++
		}
		return true
	}
	round := byte(0) // whoever sends from two processors, one after the other, is overtaken by himself
	for end := time.Now().Add(patience); !inOrder(round); round++ {
		require.True(t, time.Now().Before(end), "datagrams overtake each other")
	}
	_, err = l.book.MendAll(ctx)
	require.NoError(t, err)
}

// A pod without a bridge is delayed as well: its cable is a router's.
func TestDelayOfARoutedPod(t *testing.T) {
	l := labtest.Build(t, 1, labtest.Config{Routed: true})
	ctx, node := context.Background(), l.Nodes[0]
	a, _ := node.Pod(t, "default", "a")
	b, ips := node.Pod(t, "default", "b")
	serve(t, b, "b")
	to := netip.AddrPortFrom(ips[0], 8080)
	quick(t, a, ips[0])
	book := &fault.Book{Dir: t.TempDir(), Kinds: fault.NetKinds(""), Now: time.Now, Look: func(context.Context) (fault.Lab, error) {
		return fault.Lab{Nodes: []fault.Node{{Name: "node-1", NetNS: node.Path}}, UnderlayNS: l.UnderlayNS(), PodNS: func(string) (string, error) { return b, nil }, Netem: netem()}, nil
	}}
	f, err := book.Break(ctx, fault.Ask{Card: "delay", Target: "b", Args: map[string]string{"ms": fmt.Sprint(held.Milliseconds())}})
	require.NoError(t, err)
	require.GreaterOrEqual(t, shortest(t, a, to), held)
	_, err = book.Mend(ctx, f.ID)
	require.NoError(t, err)
	quick(t, a, ips[0])
}
