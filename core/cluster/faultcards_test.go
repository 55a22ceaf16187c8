package cluster_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/cluster"
	"github.com/klab-project/klab/core/step"
	faults "github.com/klab-project/klab/netlab/fault"
	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/proxy"
)

// broken is a cluster whose network is broken on purpose.
type broken struct{ *paths }

func newBroken(t *testing.T) *broken {
	b := &broken{newPaths(t)}
	b.serveOutside()
	return b
}

// at is where a word leads: a pod, a pod's Service ("svc/a"), each of IPv6 if
// it ends so ("a 6"), the other node or the outside.
func (b *broken) at(word string) string {
	name, family, _ := strings.Cut(word, " ")
	service, isService := strings.CutPrefix(name, "svc/")
	switch {
	case name == "outside":
		return "192.0.2.10:8088"
	case name == "node-2":
		return "172.30.0.12:10250"
	case isService && family == "6":
		return six(b.vip6[service], 80)
	case isService:
		return b.vip[service] + ":80"
	case family == "6":
		return six(b.ip6[name], 8080)
	}
	return b.ip[name] + ":8080"
}

// connects tells whether a pod or a node opens a connection within a time.
func (b *broken) connects(from, to string, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	c, err := netns.Dialer(b.ns(from))(ctx, "tcp", b.at(to))
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// works waits until ways are open.
func (b *broken) works(when string, ways ...string) {
	b.t.Helper()
	for _, w := range ways {
		from, to, _ := strings.Cut(w, " → ")
		require.Eventually(b.t, func() bool { return b.connects(from, to, 5*time.Second) }, eventually, tick, "%s, %s", w, when)
	}
}

// fails waits until ways are closed.
func (b *broken) fails(when string, ways ...string) {
	b.t.Helper()
	for _, w := range ways {
		from, to, _ := strings.Cut(w, " → ")
		require.Eventually(b.t, func() bool { return !b.connects(from, to, 700*time.Millisecond) }, eventually, tick, "%s, %s", w, when)
	}
}

// keep holds whoever repairs a node's ways and rules, or lets them go on.
func (b *broken) keep(held bool) {
	m := step.Mode{}
	if held {
		m = step.Mode{State: step.Paused, Zoom: step.Fine, Only: []step.Match{{Actor: "flannel"}, {Actor: "kube-proxy"}}}
	}
	steps, err := cluster.Connect(b.Dir)
	require.NoError(b.t, err)
	require.NoError(b.t, steps.SetMode(b.t.Context(), m))
}

// played is a card in a cluster, what fails while it is played, and what works.
type played struct {
	card, target string
	args         map[string]string
	fails, works []string
}

func kernelCards() []played {
	all := map[string]string{"share": "100"}
	const near, far, away = "a → b", "a → c", "a → outside"
	return []played{
		{"cut-link", "node-2", nil, []string{far, "a → c 6", "a → svc/c", "node-1 → node-2"}, []string{near, "a → b 6", away}},
		{"cut-link", "b", nil, []string{near, "a → b 6"}, []string{far}},
		{"drop", "node-2", all, []string{far, "a → c 6"}, []string{near, away}},
		{"delay", "node-2", map[string]string{"ms": "20"}, nil, []string{far, "a → c 6", near, "node-1 → node-2", away}},
		{"delay", "b", map[string]string{"ms": "20"}, nil, []string{near, "a → b 6", "a → svc/b"}},
		{"slow", "node-2", map[string]string{"kbit": "256"}, nil, []string{far, near}},
		{"mtu", "node-1", nil, nil, []string{far, near, away}},
		{"no-hairpin", "a", nil, []string{"a → svc/a"}, []string{"a → svc/b", "b → a"}},
		{"wrong-arp", "b", nil, []string{"node-1 → b", "c → b", "node-1 → b 6"}, []string{near, "a → b 6"}},
		{"vxlan-down", "node-1", nil, []string{far, "a → svc/c"}, []string{near, away}},
		{"no-fdb", "node-1", nil, []string{far}, []string{near, "node-1 → node-2"}},
		{"no-arp", "node-1", nil, []string{far}, []string{near, away}},
		{"blackhole", "node-1", nil, []string{far, "a → c 6", "a → svc/c"}, []string{near, away}},
		{"wrong-route", "node-1", nil, []string{far}, []string{near, away}},
		{"rp-filter", "node-1", nil, []string{far}, []string{near, away}},
		{"firewall", "node-2", nil, []string{far}, []string{near, "node-1 → node-2"}},
		{"no-default-route", "node-1", nil, []string{away}, []string{near, far, "a → svc/c"}},
		{"ip-forward", "node-1", nil, []string{far, "a → c 6", away}, []string{near, "a → b 6"}},
		{"bridge-nf", "node-1", nil, []string{"a → svc/b", "a → svc/b 6"}, []string{"a → svc/c", near}},
		{"conntrack-full", "node-1", nil, []string{away}, []string{near}},
		{"flush-chain", "node-1", nil, []string{"a → svc/b", "a → svc/c", "a → svc/c 6"}, []string{near, far, "a → c 6"}},
	}
}

// Every card that is of the kernel's, in a cluster: all works before, what the
// card says fails while it is played, and all works after it is mended. What is
// predicted of packets is so on ways that work, and where a card loses them they
// differ from it.
func TestEveryKernelCardInACluster(t *testing.T) {
	b := newBroken(t)
	every := []string{"a → b", "a → c", "a → outside", "a → svc/a", "a → svc/b", "a → svc/c", "c → b", "node-1 → b", "node-1 → node-2", "a → b 6", "a → c 6", "a → svc/b 6", "a → svc/c 6"}
	b.works("before", every...)
	tried := map[string]bool{}
	try := func(x played) {
		tried[x.card] = true
		b.forecast("before "+x.card, true, step.AsPredicted, x.fails...)
		if x.card == "mtu" {
			b.forecast("before "+x.card, true, step.AsPredicted, "a → c large")
		}
		b.keep(true)
		f, err := cluster.Break(t.Context(), b.Dir, faults.Ask{Card: x.card, Target: x.target, Args: x.args})
		require.NoError(t, err, x.card)
		b.fails("during "+f.ID, x.fails...)
		b.works("during "+f.ID, x.works...)
		b.forecast("during "+f.ID, false, step.Differs, x.fails...)
		b.forecast("during "+f.ID, true, step.AsPredicted, x.works...)
		if x.card == "mtu" { // only what is long
			b.forecast("during "+f.ID, false, step.Differs, "a → c large")
			b.forecast("during "+f.ID, true, step.AsPredicted, "a → b large")
		}
		_, err = cluster.Mend(t.Context(), b.Dir, f.ID)
		require.NoError(t, err, f.ID)
		if x.card == "vxlan-down" { // the overlay may have been held when it had put a part right
			b.keep(false)
		}
		b.works("after "+f.ID, append(x.fails, x.works...)...)
		b.keep(false)
	}
	for _, x := range kernelCards() {
		try(x)
	}
	b.works("after all", every...)
	require.NoError(t, cluster.SetProxyMode(t.Context(), b.Dir, proxy.NFTables))
	b.works("in the mode nftables", every...)
	for _, x := range kernelCards() {
		if slices.Contains([]string{"flush-chain", "bridge-nf", "no-hairpin"}, x.card) {
			try(x)
		}
	}
	for _, c := range faults.Cards() {
		ofTheAPI := c.On == faults.OnCluster || c.On == faults.OnService || c.On == faults.OnDeployment || c.Name == "stop-proxy"
		require.True(t, tried[c.Name] || ofTheAPI, "the card %s was not tried", c.Name)
	}
}

// Faults outlive whoever has made them: the daemon and an agent are killed, a
// node loses its power. What is still broken can be mended; what went with its
// node is forgotten; and a cluster goes down with faults in it.
func TestFaultsOutliveTheirMakers(t *testing.T) {
	b := newBroken(t)
	all := []string{"a → b", "a → c", "a → outside", "a → svc/b", "a → svc/c", "a → c 6"}
	b.works("before", all...)
	play := func(asks ...faults.Ask) (ids []string) {
		for _, a := range asks {
			f, err := cluster.Break(t.Context(), b.Dir, a)
			require.NoError(t, err, a.Card)
			ids = append(ids, f.ID)
		}
		return ids
	}
	left := func() (ids []string) {
		list, err := cluster.Broken(t.Context(), b.Dir)
		require.NoError(t, err)
		for _, f := range list {
			ids = append(ids, f.ID)
		}
		return ids
	}
	on := func(node string) []faults.Ask {
		return []faults.Ask{
			{Card: "cut-link", Target: node}, {Card: "delay", Target: node, Args: map[string]string{"ms": "20"}}, {Card: "ip-forward", Target: node},
			{Card: "firewall", Target: node}, {Card: "no-default-route", Target: node}, {Card: "mtu", Target: node},
		}
	}
	b.keep(true)
	ids := play(append(on("node-1"), faults.Ask{Card: "no-hairpin", Target: "a"}, faults.Ask{Card: "flush-chain", Target: "node-1"}, faults.Ask{Card: "delay", Target: "b"})...)
	require.NoError(t, syscall.Kill(b.running("agent/node-1"), syscall.SIGKILL))
	b.kill("daemon")
	require.NoError(t, cluster.Up(t.Context(), b.Dir, cluster.UpOptions{Self: b.klab}))
	require.ElementsMatch(t, ids, left(), "what is broken is broken still")
	b.fails("after the daemon", "a → c", "a → outside")
	mended, err := cluster.Mend(t.Context(), b.Dir, "")
	require.NoError(t, err)
	require.Len(t, mended, len(ids))
	b.keep(false)
	b.works("after the mend", all...)

	play(append(on("node-2"), faults.Ask{Card: "wrong-arp", Target: "c"}, faults.Ask{Card: "delay", Target: "c"})...)
	require.NoError(t, cluster.SetPower(t.Context(), b.Dir, "node-2", cluster.PowerOff))
	b.works("while node-2 is off", "a → b", "a → svc/b", "a → outside")
	require.NoError(t, cluster.SetPower(t.Context(), b.Dir, "node-2", cluster.PowerOn))
	require.ElementsMatch(t, []string{"cut-link-node-2", "mtu-node-2"}, left(), "the rest went with the node's namespace")
	_, err = cluster.Mend(t.Context(), b.Dir, "")
	require.NoError(t, err)
	require.Empty(t, left())
	b.eventually("1", "get", "pod", "c", "-o", restarts) // until then the API has what was true before
	b.kubectl("wait", "--for=condition=Ready", "pod/c", "--timeout=120s")
	b.find()
	b.works("after node-2 came back", all...)

	play(append(on("node-1"), faults.Ask{Card: "conntrack-full", Target: "node-2"}, faults.Ask{Card: "delay", Target: "a"}, faults.Ask{Card: "drop", Target: "b"})...)
	require.NoError(t, cluster.Down(t.Context(), b.Dir, false)) // newLab looks for what is left
	_, err = cluster.Broken(t.Context(), b.Dir)
	require.True(t, errors.Is(err, cluster.ErrNotUp), err)
}
