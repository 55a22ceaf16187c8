package trace_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/trace"
)

func TestLines(t *testing.T) {
	hdr := step.HopHeader{Src: "10.244.1.2:5", Dst: "10.96.0.10:80", TTL: 64, Flags: "SYN"}
	to := hdr
	to.Dst = "10.244.2.2:8080"
	rule := func(chain, verdict, jump, text string) step.Hop {
		return step.Hop{Leg: "request", NS: "node-1", Layer: step.LayerRule, Hook: "prerouting", Table: "nat", Chain: chain, Verdict: verdict, Jump: jump,
			Hdr: hdr, Rule: &step.HopRule{N: 1, Text: text, Comment: "web\x1b[2J"}}
	}
	hops := []step.Hop{
		{Leg: "request", NS: "pod/default/client", Layer: step.LayerLink, Iface: "eth0", Dir: "out", Hdr: hdr},
		rule("PREROUTING", "jump", "KUBE-SERVICES", `-m comment --comment "web" -j KUBE-SERVICES`),
		rule("KUBE-SERVICES", "return", "", `-m comment --comment web -p tcp -m tcp --dport 81 -j RETURN`),
		rule("KUBE-SEP-X", "dnat", "", `-p tcp -m comment --comment "web" -m tcp -j DNAT --to-destination 10.244.2.2:8080`),
		{Leg: "request", NS: "node-1", Layer: step.LayerLink, Iface: "eth0", Dir: "out", Hdr: to, Outer: &step.HopOuter{Kind: "vxlan", Src: "172.30.0.11:9", Dst: "172.30.0.12:8472"}},
	}
	for i := range hops {
		hops[i].Seq = i + 1
	}
	hops[3].Hdr, hops[3].Changed = to, []string{"dst"}
	require.Equal(t, strings.Split(strings.TrimSpace(`
request
1  pod/default/client  out eth0        10.244.1.2:5 → 10.96.0.10:80  SYN ttl 64
2  node-1              prerouting nat  ⋯ 2 rules let it pass: nat KUBE-SERVICES
4  node-1              prerouting nat  10.244.1.2:5 → *10.244.2.2:8080  KUBE-SEP-X 1: -p tcp -j DNAT --to-destination 10.244.2.2:8080 "web\x1b[2J"
5  node-1              out eth0        [UDP 8472 [10.244.1.2:5 → 10.244.2.2:8080]]  172.30.0.11 → 172.30.0.12, SYN ttl 64
`), "\n"), trace.Style{}.Lines(hops))
	for _, line := range (trace.Style{All: true, Width: 60}).Lines(hops) {
		require.LessOrEqual(t, len([]rune(line)), 60)
		require.NotContains(t, line, "\x1b")
	}
	require.Len(t, trace.Style{All: true}.Lines(hops), 6)
}
