package cluster_test

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/cluster"
	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/proxy"
)

// kube-proxy is killed while a change of its rules is under way, and somebody
// damages them while it is dead. Connections to other Services notice nothing;
// when it is back, the change is made and the damage repaired.
func TestProxyDiesBeforeItsRulesChange(t *testing.T) {
	l := newLab(t)
	l.up(1)
	c := newCrash(l)
	c.connect()
	l.kubectl("run", "web", "--image=klab.local/tools:1", "--labels=app=web", "--", "httpd", ":8080")
	l.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=120s")
	other := c.serve("other")
	for _, mode := range []proxy.Mode{proxy.IPTables, proxy.NFTables} {
		require.NoError(t, cluster.SetProxyMode(t.Context(), c.Dir, mode))
		victim := c.serve("victim-" + string(mode))
		c.answers(victim)
		c.answers(other)
		sync := step.Match{Verb: step.ProxySync}
		c.mode(step.Mode{State: step.Paused, Zoom: step.Fine, Only: []step.Match{sync}})
		fresh := c.serve("fresh-" + string(mode))
		c.waits(sync)

		stop := c.always(other)
		c.kill("agent/node-1")
		c.damage(mode, victim)
		require.False(t, c.connects(victim), "%s: the damage is none", mode)
		require.False(t, c.connects(fresh), "%s: the change was not held", mode)
		c.running("agent/node-1")
		c.waits(sync) // of the new one
		require.False(t, c.connects(fresh), "%s: the change was not held", mode)
		c.mode(step.Mode{})
		c.answers(fresh)
		c.answers(victim)
		require.Empty(t, stop(), "%s: connections to another Service", mode)
	}
}

// serve makes a Service of the pod web and returns where it is.
func (c *crash) serve(name string) string {
	c.kubectl("create", "service", "clusterip", name, "--tcp=80:8080")
	c.kubectl("set", "selector", "service", name, "app=web")
	return c.kubectl("get", "service", name, "-o", "jsonpath={.spec.clusterIP}") + ":80"
}

func (c *crash) node() string { return filepath.Join(c.Path, "nodes", "node-1", "ns", "net") }

// connects tells whether the node can open a connection soon.
func (c *crash) connects(to string) bool { return c.connectsWithin(to, 2*time.Second) }

func (c *crash) connectsWithin(to string, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	conn, err := netns.Dialer(c.node())(ctx, "tcp4", to)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

func (c *crash) answers(to string) {
	c.t.Helper()
	c.eventually(func() bool { return c.connects(to) }, func() string { return nettest.Run(c.t, c.node(), "iptables-save -t nat; nft list table ip kube-proxy") })
}

// always opens connections, one after the other, until stop, which tells when
// one could not be opened: it was refused, or what lay on its way was gone.
func (c *crash) always(to string) (stop func() []string) {
	ctx, cancel := context.WithCancel(context.Background())
	var failed []string
	var loop sync.WaitGroup
	loop.Go(func() {
		for ctx.Err() == nil {
			if start := time.Now(); !c.connectsWithin(to, 30*time.Second) {
				failed = append(failed, start.Format(time.StampMilli))
			}
		}
	})
	return func() []string { cancel(); loop.Wait(); return failed }
}

// waits returns when a step that matches is held by a process that lives.
func (c *crash) waits(m step.Match) {
	c.t.Helper()
	steps, err := cluster.Connect(c.Dir)
	require.NoError(c.t, err)
	c.eventually(func() bool {
		list, err := steps.Pending(context.Background())
		return err == nil && slices.ContainsFunc(list, func(p step.Pending) bool {
			return m.Matches(&step.Action{Actor: p.Actor, Node: p.Node, Verb: p.Verb, Object: p.Object})
		})
	}, func() string { return "nothing waits" })
}

// damage takes away what leads to a Service.
func (c *crash) damage(mode proxy.Mode, to string) {
	ip, _, _ := strings.Cut(to, ":")
	if mode == proxy.NFTables {
		nettest.Run(c.t, c.node(), "nft delete element ip kube-proxy service-ips '{ "+ip+" . tcp . 80 }'")
		return
	}
	for line := range strings.Lines(nettest.Run(c.t, c.node(), "iptables-save -t nat")) {
		if strings.HasPrefix(line, "-A KUBE-SERVICES -d "+ip+"/32") {
			nettest.Run(c.t, c.node(), "iptables -t nat "+strings.Replace(line, "-A", "-D", 1))
		}
	}
}
