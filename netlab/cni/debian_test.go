package cni_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/cni"
	"github.com/klab-project/klab/netlab/nettest"
)

// Debian's plugins take the place of klab's, all or some of them: bridges
// delegate to whatever host-local there is, portmap follows whatever bridge.
func TestDebiansPluginsInTheirPlace(t *testing.T) {
	for _, theirs := range [][]string{
		{"bridge", "host-local", "portmap", "loopback"}, {"host-local"}, {"bridge"}, {"portmap"},
	} {
		t.Run(strings.Join(theirs, "+"), func(t *testing.T) {
			ctx, trail := nettest.WithTrail(context.Background())
			n := newRealNode(t, "10.244.1.0/24")
			n.debian(t, theirs...)
			web, cli := pod(t, "web"), pod(t, "cli")
			web.Ports = []cni.PortMapping{{HostPort: 8000, ContainerPort: 8080, Protocol: "tcp"}}
			webIP, err := n.Attach(ctx, web)
			require.NoError(t, err)
			cliIP, err := n.Attach(ctx, cli)
			require.NoError(t, err)
			require.Equal(t, "10.244.1.2 10.244.1.3", webIP[0].String()+" "+cliIP[0].String())
			require.Equal(t, cliIP[0], nettest.Talk(t, cli.NetNS, web.NetNS, webIP[0]))
			require.Equal(t, webIP[0], nettest.Talk(t, web.NetNS, web.NetNS, webIP[0]))
			require.Contains(t, nettest.Run(t, web.NetNS, "ip -o addr show lo"), "127.0.0.1/8")
			seen, err := visit(t, n.ns, web.NetNS, "10.244.1.1:8000")
			require.NoError(t, err)
			require.Equal(t, "10.244.1.1", seen.String())
			require.NoError(t, n.Ready(ctx))
			require.NoError(t, n.Verify(ctx, cli), "Debian's portmap looks for IPv6 chains of pods with ports")

			ran := map[string]string{}
			for _, e := range trail.Events(t) {
				var d step.CNIDetail
				require.NoError(t, e.Decode(&d))
				if d.Plugin != "" && e.Verb == step.CNIAdd && e.Phase == step.PhaseEnd {
					ran[d.Plugin] = d.Program
					if d.Plugin == "bridge" {
						require.Contains(t, string(d.Stdin), `"cniVersion":"1.0.0"`, "which is what Debian's have")
						require.Contains(t, string(d.Result), `"cniVersion":"1.0.0"`)
					}
				}
			}
			for _, name := range theirs {
				if name == "host-local" && ran["bridge"] != "" {
					continue // it is another program's child
				}
				require.Equal(t, n.bin.Dir+"/"+name, ran[name])
			}

			require.NoError(t, n.Detach(ctx, web))
			require.NoError(t, n.Detach(ctx, web))
			require.NoError(t, n.Detach(ctx, cli))
			require.Empty(t, n.leases(t))
			require.NotContains(t, nettest.Run(t, n.ns, "ip link"), "veth")
			require.NotContains(t, nettest.Run(t, n.ns, "iptables-save -t nat"), "CNI-DN-")
		})
	}
}

// What one attaches the other detaches: a pod outlives the plugin's replacement.
func TestPluginsAreReplacedUnderAPod(t *testing.T) {
	for _, back := range []bool{false, true} {
		ctx := context.Background()
		n := newRealNode(t, "10.244.1.0/24")
		change := func() { n.debian(t, "bridge", "host-local", "portmap") }
		if back {
			change()
			change = func() {
				for _, name := range []string{"bridge", "host-local", "portmap"} {
					nettest.Run(t, n.ns, "ln -sf klab-cni "+n.bin.Dir+"/"+name)
				}
			}
		}
		p := pod(t, "p")
		p.Ports = []cni.PortMapping{{HostPort: 8000, ContainerPort: 8080, Protocol: "tcp"}}
		_, err := n.Attach(ctx, p)
		require.NoError(t, err)
		change()
		require.NoError(t, n.Detach(ctx, p))
		require.Empty(t, n.leases(t))
		require.NotContains(t, nettest.Run(t, n.ns, "ip link"), "veth")
		require.NotContains(t, nettest.Run(t, n.ns, "iptables-save -t nat"), "CNI-DN-")
	}
}
