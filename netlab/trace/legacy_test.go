package trace_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/overlay"
	"github.com/klab-project/klab/netlab/proxy"
	"github.com/klab-project/klab/netlab/trace"
)

// withLegacy makes a machine's iptables, for the rest of a test, those of the
// legacy kind, as update-alternatives does.
func withLegacy(t *testing.T) {
	program, err := exec.LookPath("xtables-legacy-multi")
	require.NoError(t, err, "iptables of the legacy kind are tested: install the package iptables")
	dir := t.TempDir()
	for _, name := range []string{"iptables", "ip6tables"} {
		for _, does := range []string{"", "-save", "-restore"} {
			require.NoError(t, os.Symlink(program, filepath.Join(dir, name+does)))
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("XTABLES_LOCKFILE", filepath.Join(dir, "lock")) // the machine's own may be held by others
}

// Rules of iptables' legacy kind tell nothing. Which of them a packet passed is
// inferred, and is what their counters say, on every path and of both families.
func TestPathsOfLegacy(t *testing.T) {
	for _, six := range []bool{false, true} {
		t.Run(fmt.Sprintf("six=%t", six), func(t *testing.T) {
			withLegacy(t)
			var l *lab
			list := paths
			if six {
				l, list = buildSix(t, proxy.IPTables), unwrapped(paths)
			} else {
				l = build(t)
			}
			require.Equal(t, "legacy", l.tool.Backend)
			list = append(slices.Clone(list), path{name: "a question of DNS", from: "pod/default/client", to: "a:53", proto: "udp", outcome: "refused"})
			l.paths(t, list)
			w, _ := l.follow(t, "pod/default/client", "10.96.0.10:80", "tcp")
			require.True(t, slices.ContainsFunc(w.Notes, func(s string) bool { return strings.Contains(s, "node-1 has iptables of the legacy kind") }), w.Notes)
			for _, h := range w.Hops {
				require.True(t, h.Layer != step.LayerRule || h.Confidence == "inferred" && h.Verdict != "unknown", h)
			}
		})
	}
}

// Losses at rules are found there too.
func TestLossesOfLegacy(t *testing.T) {
	withLegacy(t)
	l := buildWith(t, proxy.IPTables, overlay.VXLAN, false)
	for _, x := range losses {
		if slices.Contains([]string{"a rule drops it", "a chain's policy drops it", "a rule rejects it", "a NetworkPolicy", "no endpoints", "nothing leads to the rules of Services",
			"no route", "ip_forward off", "nobody listens", "bridge-nf off"}, x.name) {
			t.Run(x.name, func(t *testing.T) {
				w := l.lose(t, x)
				require.False(t, slices.ContainsFunc(w.Hops, func(h step.Hop) bool { return h.Verdict == "unknown" }), trace.Lines(w.Hops))
			})
		}
	}
}

// A match that is not known ends what can be said, and is no guess.
func TestCannotSay(t *testing.T) {
	withLegacy(t)
	l := build(t)
	nettest.Run(t, l.nodes[0].Path(), "iptables -A FORWARD -m string --algo bm --string nothing -j DROP; iptables -A FORWARD -p tcp -j ACCEPT")
	w, _ := l.follow(t, "pod/default/client", "b:8080", "tcp")
	text := strings.Join(trace.Lines(w.Hops), "\n")
	require.Equal(t, "answered", w.Outcome, text)
	i := slices.IndexFunc(w.Hops, func(h step.Hop) bool { return h.Verdict == "unknown" })
	require.Positive(t, i, text)
	require.Contains(t, w.Hops[i].Rule.Text, "cannot say what follows: rule ")
	require.Contains(t, w.Hops[i].Rule.Text, "--string", text)
	require.False(t, slices.ContainsFunc(w.Hops[i:], func(h step.Hop) bool {
		return h.NS == "node-1" && h.Leg == step.LegRequest && h.Chain == "FORWARD" && h.Verdict == "accept"
	}), text)
}
