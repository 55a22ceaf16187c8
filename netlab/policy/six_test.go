package policy_test

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/labtest"
	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/policy"
)

// The same policies hold for IPv6: pods find each other, and are kept apart by
// ip6tables.
func TestIPv6(t *testing.T) {
	for _, tool := range tools(t) {
		t.Run(tool.Backend, func(t *testing.T) {
			ctx := context.Background()
			l := labtest.Build(t, 1, labtest.Config{DualStack: true})
			node := l.Nodes[0]
			s, six, paths := world(deny("a", named("p2"))), map[string]netip.Addr{}, map[string]string{}
			for i, h := range homes[:3] {
				path, ips := node.Pod(t, h.namespace, h.name)
				require.Len(t, ips, 2)
				s.Pods[i].IPs, six[h.name], paths[h.name] = ips, ips[1], path
				sayHello(t, path, ips[1])
			}
			tool6, err := tool.IPv6(ctx)
			require.NoError(t, err)
			g := &policy.Guard{Node: "node-1", Family: policy.Family{V6: true}, Hands: policy.Tables{Tool: tool6, Net: node.Net}}
			require.NoError(t, g.Sync(ctx, s))
			saved, err := tool6.Saved(ctx, node.Net)
			require.NoError(t, err)
			require.Empty(t, policy.Differs("node-1", policy.Family{V6: true}, s, saved), "we write rules as ip6tables-save does:\n"+saved)

			for _, c := range []struct {
				from, to string
				want     fate
			}{{"p3", "p1", rejected}, {"p3", "p2", rejected}, {"p2", "p1", answered}, {"p1", "p3", answered}, {"node", "p1", answered}} {
				path := paths[c.from]
				if c.from == "node" {
					path = node.Path
				}
				got := hello(path, six[c.to])
				require.Equal(t, c.want, got, "%s to %s", c.from, c.to)
				p := policy.Packet{From: six[c.from], To: six[c.to], Protocol: "TCP", Port: 80}
				if c.from != "node" {
					require.Equal(t, c.want == answered, policy.Allowed(s, p).Allowed)
					w, err := policy.Walk(saved, p)
					require.NoError(t, err)
					require.Equal(t, c.want == answered, w.Allowed)
				}
			}
			require.NoError(t, g.Sync(ctx, policy.Snapshot{}))
			require.Equal(t, answered, hello(paths["p3"], six["p1"]))
		})
	}
}

func sayHello(t *testing.T, path string, at netip.Addr) {
	t.Helper()
	l, err := netns.Listen(context.Background(), path, "tcp6", netip.AddrPortFrom(at, 80).String())
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = fmt.Fprint(c, "hello")
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
}

func hello(path string, to netip.Addr) fate {
	f, err := again(func(ctx context.Context) (fate, error) { return helloOnce(ctx, path, to) })
	if err != nil {
		return fate(err.Error())
	}
	return f
}

func helloOnce(ctx context.Context, path string, to netip.Addr) (fate, error) {
	end, _ := ctx.Deadline()
	c, err := netns.Dialer(path)(ctx, "tcp6", netip.AddrPortFrom(to, 80).String())
	if err == nil {
		_ = c.SetDeadline(end)
		_, err = io.ReadAll(c)
		_ = c.Close()
	}
	return fateOf(err)
}
