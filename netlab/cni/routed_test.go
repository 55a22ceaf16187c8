package cni_test

import (
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/cni"
	"github.com/klab-project/klab/netlab/nettest"
)

// Routed pods have no bridge; they and bridged pods of the same node reach each
// other, whoever came first.
func TestRoutedPods(t *testing.T) {
	ctx, trail := nettest.WithTrail(context.Background())
	net, ns := node(t, "10.244.1.0/24")
	nettest.Run(t, ns, "ip link add up0 type bridge; ip addr add 172.30.0.11/24 dev up0; ip link set up0 up; ip route add default via 172.30.0.1")
	conf, err := os.ReadFile(filepath.Join(net.ConfDir, cni.ConflistFile))
	require.NoError(t, err)
	old, err := cni.Parse(conf)
	require.NoError(t, err)
	routed := cni.NodeConfig{Pods: netip.MustParsePrefix("10.244.1.0/24"), DataDir: dataDir(t, old), MTU: 1450, Routed: true}
	require.NoError(t, cni.SwitchConflist(net.ConfDir, routed))

	first := pod(t, "first")
	ips, err := net.Attach(ctx, first)
	require.NoError(t, err)
	require.NotContains(t, nettest.Run(t, ns, "ip -o link"), "cni0")
	require.Contains(t, nettest.Run(t, ns, "ip route"), ips[0].String()+" dev cali")
	require.Contains(t, nettest.Run(t, first.NetNS, "ip route"), "default via 169.254.1.1 dev eth0")
	require.Contains(t, nettest.Run(t, first.NetNS, "ip -o addr show eth0"), ips[0].String()+"/32")
	trail.Lines(t)
	again, err := net.Attach(ctx, first)
	require.NoError(t, err)
	require.Equal(t, ips, again)
	require.Empty(t, trail.Lines(t), "it may be repeated")
	second := pod(t, "second")
	more, err := net.Attach(ctx, second)
	require.NoError(t, err)
	require.Equal(t, ips[0], nettest.Talk(t, first.NetNS, second.NetNS, more[0]))

	list, err := cni.Load(net.ConfDir)
	require.NoError(t, err)
	call := cni.Call{ContainerID: first.SandboxID, IfName: "eth0", NetNS: first.NetNS}
	require.NoError(t, net.Runner.Check(ctx, list, call))
	nettest.Run(t, ns, "ip route del "+ips[0].String())
	require.ErrorContains(t, net.Runner.Check(ctx, list, call), "route to "+ips[0].String())
	_, err = net.Attach(ctx, first)
	require.NoError(t, err)

	routed.Routed = false
	require.NoError(t, cni.SwitchConflist(net.ConfDir, routed))
	bridged := pod(t, "bridged")
	at, err := net.Attach(ctx, bridged)
	require.NoError(t, err)
	require.NoError(t, cni.Neighbourly(ctx, nettest.Open(t, ns)))
	require.Equal(t, ips[0], nettest.Talk(t, first.NetNS, bridged.NetNS, at[0]))
	require.Equal(t, at[0], nettest.Talk(t, bridged.NetNS, first.NetNS, ips[0]))

	require.NoError(t, net.Detach(ctx, first))
	require.NoError(t, net.Detach(ctx, second))
	require.NotContains(t, nettest.Run(t, ns, "ip -o link; ip route"), "cali")
	require.Equal(t, at[0], nettest.AddrOf(t, bridged.NetNS, "eth0"))

	edited := filepath.Join(net.ConfDir, cni.ConflistFile)
	require.NoError(t, os.WriteFile(edited, append(conf, '\n'), 0o644))
	require.NoError(t, cni.SwitchConflist(net.ConfDir, routed))
	kept, err := os.ReadFile(edited)
	require.NoError(t, err)
	require.Equal(t, append(conf, '\n'), kept, "one that was edited stays")
}

// dataDir is where a conflist's addresses are remembered.
func dataDir(t *testing.T, l *cni.List) string {
	t.Helper()
	var p struct{ IPAM struct{ DataDir string } }
	require.NoError(t, json.Unmarshal(l.Plugins[0], &p))
	return p.IPAM.DataDir
}
