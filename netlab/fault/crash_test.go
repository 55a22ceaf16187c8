package fault_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/fault"
	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/nettest"
)

// The test binary is also the process that breaks, and is killed meanwhile.
func TestMain(m *testing.M) {
	if text := os.Getenv("FAULT_DIES"); text != "" {
		if err := breakAndDie(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// deed is what such a process does, and how many kinds' functions return
// before it is killed.
type deed struct {
	Dir  string
	Lab  fault.Lab
	Ask  fault.Ask
	Mend string
	Die  int
	IP   string
	NS   string // of the pod
}

func breakAndDie(text string) error {
	var d deed
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		return err
	}
	d.Lab.PodNS = func(string) (string, error) { return d.NS, nil }
	left := &d.Die
	kinds := fault.NetKinds("")
	for name, k := range kinds {
		kinds[name] = mortal{k, left}
	}
	b := &fault.Book{Dir: d.Dir, Kinds: kinds, Now: time.Now, Look: func(context.Context) (fault.Lab, error) { return d.Lab, nil }}
	var err error
	if d.Mend != "" {
		_, err = b.Mend(context.Background(), d.Mend)
	} else {
		_, err = b.Break(context.Background(), d.Ask)
	}
	return err
}

// mortal is a kind whose owner dies before or after a change.
type mortal struct {
	fault.Kind
	left *int
}

func (m mortal) step() {
	if *m.left--; *m.left < 0 {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

func (m mortal) Apply(ctx context.Context, n *link.Net, c fault.Change) error {
	m.step()
	defer m.step()
	return m.Kind.Apply(ctx, n, c)
}

func (m mortal) Restore(ctx context.Context, n *link.Net, c fault.Change) error {
	m.step()
	defer m.step()
	return m.Kind.Restore(ctx, n, c)
}

// Wherever somebody is killed while breaking or mending, the fault is in the
// book, and mending it brings back all that was.
func TestKilled(t *testing.T) {
	l := build(t)
	before := l.dump(t, "node-1", "underlay")
	look, err := l.book.Look(context.Background())
	require.NoError(t, err)
	look.PodIPs = nil
	for _, x := range []struct {
		ask  fault.Ask
		dies int // how often it can die: twice for each change
	}{
		{fault.Ask{Card: "mtu", Target: "node-1"}, 4},
		{fault.Ask{Card: "rp-filter", Target: "node-1"}, 4},
		{fault.Ask{Card: "vxlan-down", Target: "node-1"}, 2},
		{fault.Ask{Card: "flush-chain", Target: "node-1"}, 2},
		{fault.Ask{Card: "drop", Target: "a"}, 2},
	} {
		for die := range x.dies {
			name := fmt.Sprintf("%s, killed at %d", x.ask.Card, die)
			l.die(t, deed{Dir: l.book.Dir, Lab: look, Ask: x.ask, Die: die})
			list, err := l.book.List()
			require.NoError(t, err)
			require.Len(t, list, 1, name)
			_, err = l.book.Break(context.Background(), x.ask)
			require.ErrorIs(t, err, fault.ErrBroken, name)
			if die%2 == 1 { // and whoever mends it is killed as well
				l.die(t, deed{Dir: l.book.Dir, Lab: look, Mend: list[0].ID, Die: die / 2})
			}
			_, err = l.newBook().Mend(context.Background(), list[0].ID)
			require.NoError(t, err, name)
			l.same(t, before, name, "node-1", "underlay")
		}
	}
	l.works(t, []way{toFar, fromFar, farService, muchToFar})
}

func (l *lab) die(t *testing.T, d deed) {
	t.Helper()
	text, err := json.Marshal(d)
	require.NoError(t, err)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "FAULT_DIES="+string(text))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	require.ErrorContains(t, err, "signal: killed", "%s", out)
}

// What has healed by itself, or is another's by now, is left as it is.
func TestMendLeavesWhatOthersChanged(t *testing.T) {
	l := build(t)
	ctx := context.Background()
	one := l.ns["node-1"]
	for _, x := range []struct{ card, target, after, look string }{
		{"ip-forward", "node-1", "sysctl -w net.ipv4.ip_forward=1", "sysctl -n net.ipv4.ip_forward"},
		{"flush-chain", "node-1", "iptables -t nat -A KUBE-SERVICES -j RETURN", "iptables -t nat -S KUBE-SERVICES"},
		{"blackhole", "node-1", "ip route replace 10.244.2.0/24 via 172.30.0.12", "ip route show 10.244.2.0/24"},
		{"no-fdb", "node-1", "bridge fdb append 0a:58:0a:f4:02:00 dev flannel.1 dst 172.30.0.77 self permanent", "bridge fdb show dev flannel.1"},
		{"no-arp", "node-1", "ip neigh replace 10.244.2.0 lladdr 0a:58:0a:f4:02:99 dev flannel.1 nud permanent", "ip neigh show dev flannel.1 nud permanent"},
		{"wrong-arp", "a", "ip neigh replace " + l.ip["a"].String() + " lladdr 0a:58:0a:f4:01:77 dev cni0 nud permanent", "ip neigh show dev cni0 nud permanent"},
		{"firewall", "node-1", "nft delete table inet klab-firewall-node-1", "nft list tables"},
		{"mtu", "node-1", "ip link set eth0 gso_max_segs 7", "ip -d link show eth0"},
	} {
		f, err := l.book.Break(ctx, fault.Ask{Card: x.card, Target: x.target})
		require.NoError(t, err, x.card)
		nettest.Run(t, one, "export XTABLES_LOCKFILE="+l.tool.Lock+"; "+x.after)
		healed := nettest.Run(t, one, x.look)
		_, err = l.book.Mend(ctx, f.ID)
		require.NoError(t, err, x.card)
		require.Equal(t, healed, nettest.Run(t, one, x.look), x.card)
	}
}

// A fault whose place has gone is mended by forgetting it; a place of the same
// name is another one. Building anew makes the others again.
func TestPlacesThatHaveGone(t *testing.T) {
	l := build(t)
	ctx := context.Background()
	for _, a := range []fault.Ask{
		{Card: "cut-link", Target: "client"}, {Card: "drop", Target: "b"}, {Card: "ip-forward", Target: "node-2"},
		{Card: "cut-link", Target: "node-1"}, {Card: "no-hairpin", Target: "a"},
	} {
		_, err := l.book.Break(ctx, a)
		require.NoError(t, err)
	}
	_, err := l.book.Break(ctx, fault.Ask{Card: "firewall", Target: "node-1", Args: map[string]string{"port": "53"}})
	require.NoError(t, err)
	// The pods client and b go; node-2 is another one now; the network is built again.
	for _, pod := range []string{"client", "b"} {
		nettest.Run(t, l.ns[pod], "ip link del eth0")
	}
	require.NoError(t, netns.Delete(l.ns["node-2"]))
	require.NoError(t, netns.Create(l.ns["node-2"]))
	nettest.Run(t, l.UnderlayNS(), "ip link set n-1 up")
	nettest.Run(t, l.ns["node-1"], "nft delete table inet klab-firewall-node-1")

	require.NoError(t, l.newBook().Renew(ctx))
	list, err := l.book.List()
	require.NoError(t, err)
	var left []string
	for _, f := range list {
		left = append(left, f.ID)
	}
	require.ElementsMatch(t, []string{"cut-link-node-1", "no-hairpin-default-a", "firewall-node-1"}, left)
	require.Contains(t, nettest.Run(t, l.UnderlayNS(), "ip link show n-1"), "state DOWN")
	require.Contains(t, nettest.Run(t, l.ns["node-1"], "nft list table inet klab-firewall-node-1"), "dport 53")
	mended, err := l.book.MendAll(ctx)
	require.NoError(t, err)
	require.Len(t, mended, len(left))
	entries, err := os.ReadDir(filepath.Join(l.Root, "faults"))
	require.NoError(t, err)
	require.Empty(t, entries)
	require.Equal(t, "lo", nettest.Run(t, l.ns["node-2"], "ip -o link show | awk -F': ' '{print $2}'"), "the new node was not touched")
}
