package trace_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/trace"
)

// The rules inside a pod, such as a sidecar's, are seen also if they came while
// the tracer listened; a pod without rules is left alone.
func TestRulesInsidePods(t *testing.T) {
	l := build(t)
	l.follow(t, "pod/default/client", "b:8080", "tcp")
	require.NotContains(t, nettest.Run(t, l.ns["b"], "nft list tables"), "klab-trace")

	nettest.Run(t, l.ns["b"], "iptables -t nat -A PREROUTING -p tcp --dport 8081 -j REDIRECT --to-ports 8080")
	w, _ := l.follow(t, "pod/default/client", "b:8081", "tcp")
	text := strings.Join(trace.Lines(w.Hops), "\n")
	require.Equal(t, "answered", w.Outcome, text)
	require.True(t, slices.ContainsFunc(w.Hops, func(h step.Hop) bool {
		return h.NS == "pod/default/b" && h.Chain == "PREROUTING" && h.Verdict == "dnat" && h.Rule.Text == "-p tcp -m tcp --dport 8081 -j REDIRECT --to-ports 8080"
	}), text)

	nettest.Run(t, l.ns["client"], "iptables -A OUTPUT -p tcp --dport 8080 -j DROP")
	w, _ = l.follow(t, "pod/default/client", "b:8080", "tcp")
	text = strings.Join(trace.Lines(w.Hops), "\n")
	require.NotNil(t, w.Drop, text)
	require.Equal(t, trace.ReasonRule, w.Drop.Reason, text)
	require.Equal(t, "pod/default/client", w.Hops[len(w.Hops)-1].NS, text)
	require.Contains(t, w.Drop.Says, "chain OUTPUT")

	nettest.Run(t, l.ns["client"], "iptables -F OUTPUT")
	require.NoError(t, l.tracer.Disarm())
	for _, pod := range []string{"client", "b"} {
		require.NotContains(t, nettest.Run(t, l.ns[pod], "nft list tables"), "klab-trace")
	}
}
