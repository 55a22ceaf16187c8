package policy_test

import (
	"context"
	"flag"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/policy"
)

// perWorld is how many packets are sent in each random world.
const perWorld = 50

// The oracle agrees with the kernel on random packets under random policies:
// 300 of them, or as many as POLICY_CASES says (make policy-cases).
func TestOracleAndKernel(t *testing.T) {
	cases := 300
	if text := os.Getenv("POLICY_CASES"); text != "" {
		var err error
		cases, err = strconv.Atoi(text)
		require.NoError(t, err)
	}
	all := tools(t)
	for _, tool := range all {
		t.Run(tool.Backend, func(t *testing.T) {
			l := build(t, tool)
			worlds(t, max(1, cases/perWorld/len(all)))
			sent := map[bool]int{}
			for n := 0; n < 30 && len(sent) < 2; n++ { // a few worlds may all be without a policy that keeps a packet out
				rapid.Check(t, func(t *rapid.T) { l.agrees(t, sent) })
			}
			t.Logf("the oracle and the kernel agree on %d packets that pass and %d that do not", sent[true], sent[false])
			require.Len(t, sent, 2, "packets that pass, and packets that do not")
		})
	}
}

// worlds sets how many rapid draws until the test ends.
func worlds(t *testing.T, n int) {
	f := flag.Lookup("rapid.checks")
	before := f.Value.String()
	require.NoError(t, f.Value.Set(strconv.Itoa(n)))
	t.Cleanup(func() { _ = f.Value.Set(before) })
}

// agrees sends packets in a world, all at once, and compares.
func (l *lab) agrees(t *rapid.T, sent map[bool]int) {
	s := snapshotOf(t)
	if err := l.sync(s); err != nil {
		t.Fatal(err)
	}
	for i, n := range l.nodes {
		saved, err := l.tool.Saved(context.Background(), n)
		if err != nil {
			t.Fatal(err)
		}
		if text := policy.Differs(l.guards[i].Node, policy.Family{}, s, saved); text != "" {
			t.Fatalf("iptables-save of %s writes these rules in another way, or has others:\n%s\nit has:\n%s", l.guards[i].Node, text, saved)
		}
	}
	// A packet with the ports of one in an earlier world would belong to its connection.
	for _, n := range l.nodes {
		if err := n.ForgetFlows(context.Background(), func(link.Flow) bool { return true }); err != nil {
			t.Fatal(err)
		}
	}
	shots := rapid.SliceOfN(rapid.Custom(shotOf), perWorld, perWorld).Draw(t, "shots")
	fates := make([]fate, len(shots))
	var g errgroup.Group
	for i, shot := range shots {
		g.Go(func() (err error) {
			fates[i], err = l.send(shot)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for i, shot := range shots {
		v := policy.Allowed(s, shot.Packet)
		want := rejected
		if v.Allowed {
			want = answered
		}
		if fates[i] != want {
			t.Fatalf("%s: %s, but the oracle says %s: %s\n%+v", shot, fates[i], want, v.Why(), s)
		}
		sent[v.Allowed]++
	}
}
