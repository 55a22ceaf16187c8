package cni_test

import (
	"context"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/cni"
	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/nettest"
)

// A Service that has only one pod: does the pod reach itself through it? Other
// pods do, in each mode.
func TestHairpin(t *testing.T) {
	ctx := context.Background()
	for name, hairpin := range map[string]bool{"hairpin-veth": true, "neither": false} {
		t.Run(name, func(t *testing.T) {
			n := newRealNode(t, "10.244.1.0/24")
			conflist(t, n.PodNetwork, cni.ConflistFile, func(conf map[string]any) {
				conf["plugins"].([]any)[0].(map[string]any)["hairpinMode"] = hairpin
			})
			web, cli := pod(t, "web"), pod(t, "cli")
			webIP, err := n.Attach(ctx, web)
			require.NoError(t, err)
			_, err = n.Attach(ctx, cli)
			require.NoError(t, err)
			nettest.Run(t, n.ns, "sysctl -w net.bridge.bridge-nf-call-iptables=1")
			nettest.Run(t, n.ns, "iptables -t nat -A PREROUTING -d 10.96.0.10 -p tcp -j DNAT --to-destination "+webIP[0].String())
			nettest.Run(t, n.ns, "iptables -t nat -A POSTROUTING -s "+webIP[0].String()+" -d "+webIP[0].String()+" -j MASQUERADE")

			service := netip.MustParseAddr("10.96.0.10")
			nettest.TalkVia(t, cli.NetNS, web.NetNS, webIP[0], service)
			if hairpin {
				nettest.TalkVia(t, web.NetNS, web.NetNS, webIP[0], service)
			} else {
				_, err := nettest.TryTalkVia(t, web.NetNS, web.NetNS, webIP[0], service)
				require.Error(t, err)
			}
			require.Contains(t, nettest.Run(t, n.ns, "bridge -d link show"), map[bool]string{true: "hairpin on", false: "hairpin off"}[hairpin])
		})
	}
}

// The other way of upstream, a promiscuous bridge, does it no more on kernels of
// today: it is refused, before a pod trusts in it. Pods that have it are detached.
func TestPromiscuousBridgeIsRefused(t *testing.T) {
	ctx := context.Background()
	n := newRealNode(t, "10.244.1.0/24")
	p := pod(t, "p")
	_, err := n.Attach(ctx, p)
	require.NoError(t, err)
	conflist(t, n.PodNetwork, cni.ConflistFile, func(conf map[string]any) {
		bridge := conf["plugins"].([]any)[0].(map[string]any)
		bridge["hairpinMode"], bridge["promiscMode"] = false, true
		conf["cniVersions"] = []string{"1.0.0", "1.1.0"}
	})
	const says = "promiscMode gives no hairpin any more: set hairpinMode instead"
	require.ErrorContains(t, n.Ready(ctx), says)
	_, err = n.Attach(ctx, pod(t, "next"))
	require.ErrorContains(t, err, says)
	require.NoError(t, n.Detach(ctx, p))
	require.Empty(t, n.leases(t))
}

func TestIPMasq(t *testing.T) {
	ctx := context.Background()
	n := newRealNode(t, "10.244.1.0/24")
	conflist(t, n.PodNetwork, cni.ConflistFile, func(conf map[string]any) {
		conf["plugins"].([]any)[0].(map[string]any)["ipMasq"] = true
	})
	p, outside := pod(t, "p"), nettest.Namespace(t, "outside")
	_, err := n.Attach(ctx, p)
	require.NoError(t, err)
	require.NoError(t, nettest.Open(t, n.ns).Veth(ctx, link.Veth{Name: "up0", PeerName: "up1", Peer: nettest.Open(t, outside)}))
	nettest.Run(t, n.ns, "ip addr add 192.0.2.1/24 dev up0; ip link set up0 up")
	nettest.Run(t, outside, "ip addr add 192.0.2.9/24 dev up1; ip link set up1 up; ip route add 10.244.1.0/24 via 192.0.2.1")
	require.Equal(t, "192.0.2.1", nettest.Talk(t, p.NetNS, outside, netip.MustParseAddr("192.0.2.9")).String())
}
