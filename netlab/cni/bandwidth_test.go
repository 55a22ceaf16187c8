package cni_test

import (
	"context"
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/cni"
	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/nettest"
)

// Numbers as upstream's plugin has the kernel show them: tc -s qdisc of Debian's
// bandwidth 1.1.1 for the same limits.
func TestBucket(t *testing.T) {
	b := link.NewBucket(8_000_000, 800_000)
	require.Equal(t, link.Bucket{Rate: 1_000_000, Buffer: 1_562_500, Limit: 125_000}, b)
	require.EqualValues(t, 100_000, b.Burst())
	require.EqualValues(t, uint32(math.MaxUint32), link.NewBucket(8_000, math.MaxUint32).Buffer, "which upstream lets overflow")
}

// qdisc is a queue as tc(8) tells it.
type qdisc struct {
	Kind    string
	Root    bool
	Options struct{ Rate, Burst int }
}

func queues(t *testing.T, ns, dev string) (list []qdisc) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(nettest.Run(t, ns, "tc -j qdisc show dev "+dev)), &list))
	return list
}

// Limits of a pod become token buckets, on the node's end of its pair and on an
// intermediate link; packets pass; CHECK sees what was taken away; another pod
// has no limits; and afterwards nothing is left. By klab's plugin, in the process
// and as a program, and by Debian's in its place.
func TestBandwidth(t *testing.T) {
	for name, prepare := range map[string]func(*realNode){
		"klab": func(*realNode) {},
		"klab's program": func(n *realNode) {
			nettest.Run(t, n.ns, "cp "+n.bin.Dir+"/klab-cni "+n.bin.Dir+"/copy && mv "+n.bin.Dir+"/copy "+n.bin.Dir+"/bandwidth")
		},
		"debian": func(n *realNode) { n.debian(t, "bandwidth") },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, trail := nettest.WithTrail(context.Background())
			n := newRealNode(t, "10.244.1.0/24")
			prepare(n)
			limiting(t, n)
			slow, free := pod(t, "slow"), pod(t, "free")
			slow.Capabilities = map[string]any{"bandwidth": map[string]any{"ingressRate": 8_000_000, "ingressBurst": 800_000, "egressRate": 4_000_000, "egressBurst": 400_000}}
			slowIP, err := n.Attach(ctx, slow)
			require.NoError(t, err)
			freeIP, err := n.Attach(ctx, free)
			require.NoError(t, err)
			if name != "debian" { // whose plugin wants nothing to be there
				again, err := n.Attach(ctx, slow)
				require.NoError(t, err)
				require.Equal(t, slowIP, again)
			}

			host := portOf(t, n, "default/slow")
			ifb := nettest.Run(t, n.ns, "ip -br link show type ifb | awk '{print $1}'")
			require.Regexp(t, "^bwp[0-9a-f]{12}$", ifb)
			for dev, want := range map[string]int{host: 1_000_000, ifb: 500_000} {
				found := queues(t, n.ns, dev)[0]
				require.Equal(t, "tbf", found.Kind, dev)
				require.True(t, found.Root)
				require.Equal(t, want, found.Options.Rate, dev)
				require.InDelta(t, want/10, found.Options.Burst, 1, dev)
			}
			require.NotContains(t, nettest.Run(t, n.ns, "tc qdisc show dev "+portOf(t, n, "default/free")), "tbf")
			require.Equal(t, freeIP[0], nettest.Talk(t, free.NetNS, slow.NetNS, slowIP[0]))
			require.Equal(t, slowIP[0], nettest.Talk(t, slow.NetNS, free.NetNS, freeIP[0]))
			require.NotContains(t, nettest.Run(t, n.ns, "tc -s qdisc show dev "+ifb), "Sent 0 bytes", "what the pod sent went through it")
			require.NoError(t, n.Verify(ctx, slow))

			if name != "debian" { // whose CHECK overlooks it, and dies of a pod without limits
				nettest.Run(t, n.ns, "tc qdisc del dev "+ifb+" root")
				require.ErrorContains(t, n.Verify(ctx, slow), "Failed to find qdisc")
				require.NoError(t, n.Verify(ctx, free))
				require.True(t, checkFailed(t, trail), "CHECK is a step that has the plugin's error")
			}

			require.NoError(t, n.Detach(ctx, slow))
			require.NoError(t, n.Detach(ctx, slow))
			require.Empty(t, nettest.Run(t, n.ns, "ip link show type ifb"))
			require.NotContains(t, nettest.Run(t, n.ns, "tc qdisc"), "tbf")
		})
	}
}

func checkFailed(t *testing.T, trail *nettest.Trail) (failed bool) {
	t.Helper()
	for _, e := range trail.Events(t) {
		var d step.CNIDetail
		require.NoError(t, e.Decode(&d))
		failed = failed || e.Verb == step.CNICheck && d.Plugin == "bandwidth" && d.Error != nil
	}
	return failed
}

// limiting adds the plugin to a node's configuration, as a learner does.
func limiting(t *testing.T, n *realNode) {
	t.Helper()
	conflist(t, n.PodNetwork, cni.ConflistFile, func(conf map[string]any) {
		conf["plugins"] = append(conf["plugins"].([]any), map[string]any{"type": "bandwidth", "capabilities": map[string]bool{"bandwidth": true}})
	})
}

// portOf is the node's end of a pod's pair: the port of cni0 that leads to it.
func portOf(t *testing.T, n *realNode, alias string) string {
	t.Helper()
	links, err := nettest.Open(t, n.ns).Links()
	require.NoError(t, err)
	for _, l := range links {
		if l.Alias == alias {
			return l.Name
		}
	}
	t.Fatalf("no link is for %s: %+v", alias, links)
	return ""
}

// What CHECK finds wrong it names.
func TestBandwidthCheckNamesWhatDiffers(t *testing.T) {
	ctx := context.Background()
	n := newRealNode(t, "10.244.1.0/24")
	limiting(t, n)
	p := pod(t, "p")
	p.Capabilities = map[string]any{"bandwidth": map[string]any{"ingressRate": 8_000_000, "ingressBurst": 800_000, "egressRate": 8_000_000, "egressBurst": 800_000}}
	_, err := n.Attach(ctx, p)
	require.NoError(t, err)
	host := portOf(t, n, "default/p")
	nettest.Run(t, n.ns, "tc qdisc replace dev "+host+" root handle 1: tbf rate 1mbit burst 10000 limit 20000")
	require.ErrorContains(t, n.Verify(ctx, p), "the token bucket of "+host+" is another: rate 1000000 bits a second, burst 10000 bytes, limit 20000 bytes, and not 8000000, 100000 and 125000")
	nettest.Run(t, n.ns, "tc qdisc del dev "+host+" ingress")
	require.ErrorContains(t, n.Verify(ctx, p), "it is not so that what the pod sends to "+host+" is led through bwp")

	// GC removes what belongs to nobody, and nothing of other networks.
	nettest.Run(t, n.ns, "ip link add bwpforeign type ifb; ip link set bwpforeign alias 'other x'; ip link add bwpstale type ifb; ip link set bwpstale alias 'klab x'")
	require.NoError(t, n.Collect(ctx, []string{p.SandboxID}))
	left := nettest.Run(t, n.ns, "ip -br link show type ifb | awk '{print $1}'")
	require.Contains(t, left, "bwpforeign")
	require.NotContains(t, left, "bwpstale")
	require.Regexp(t, "bwp[0-9a-f]{12}", left)
}

func TestBandwidthIsToldWhatIsWrong(t *testing.T) {
	b := &cni.Bandwidth{By: link.By{}}
	call := func(text string) cni.Call {
		return cni.Call{ContainerID: "c", IfName: "eth0", Config: []byte(text)}
	}
	_, err := b.Add(context.Background(), call(`{"name":"n"}`))
	require.ErrorContains(t, err, "must be called as chained plugin")
	for text, want := range map[string]string{
		`"ingressRate":8`:                          "if rate is set, burst must also be set",
		`"egressBurst":8`:                          "if burst is set, rate must also be set",
		`"egressRate":7,"egressBurst":8`:           "less than a byte",
		`"egressRate":8,"egressBurst":1e12`:        "error unmarshall network config",
		`"ingressRate":1,"ingressBurst":"x"`:       "error unmarshall network config",
		`"egressRate":8,"egressBurst":34359738360`: "burst cannot be more than 4GB",
	} {
		_, err := b.Add(context.Background(), call(`{"name":"n","prevResult":{"cniVersion":"1.0.0"},"runtimeConfig":{"bandwidth":{`+text+`}}}`))
		require.ErrorContains(t, err, want, text)
	}
}
