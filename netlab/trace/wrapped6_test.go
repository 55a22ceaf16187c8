package trace_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/proxy"
	"github.com/klab-project/klab/netlab/trace"
)

// Packets of IPv6 may be within others, of IPv6 as with flannel's second device,
// or of IPv4.
func TestWrappedIPv6(t *testing.T) {
	for _, outer := range []string{"IPv6", "IPv4"} {
		t.Run("in "+outer, func(t *testing.T) {
			l := buildSix(t, proxy.IPTables)
			l.wrap(t, outer == "IPv6")
			var between []path
			for _, p := range paths {
				if slices.Contains([]string{"pod to pod, other node", "ClusterIP, other node", "NodePort with SNAT", "UDP, other node", "ping, other node"}, p.name) {
					between = append(between, p)
				}
			}
			l.paths(t, between)
			w, _ := l.follow(t, "pod/default/client", "b:8080", "tcp")
			i := slices.IndexFunc(w.Hops, func(h step.Hop) bool { return h.Layer == step.LayerEncap })
			require.Positive(t, i, trace.Lines(w.Hops))
			at, err := netip.ParseAddrPort(w.Hops[i].Outer.Dst)
			require.NoError(t, err)
			require.Equal(t, outer == "IPv6", at.Addr().Is6(), trace.Lines(w.Hops))
		})
	}
}

// wrap leads the pods' packets of IPv6 over a VXLAN link of their own.
func (l *lab) wrap(t *testing.T, six bool) {
	mac := func(i int) string { return fmt.Sprintf("0a:58:0a:f6:%02x:00", i+1) }
	end := func(i int) netip.Addr { return l.Nodes[i].Pods6.Masked().Addr() }
	ip := func(i int) netip.Addr {
		if six {
			return l.Nodes[i].IP6
		}
		return l.Nodes[i].IP
	}
	vni := 2
	if six { // as IPv4's link has
		vni = 1
	}
	for i, n := range l.Nodes {
		j := 1 - i
		for _, line := range []string{
			fmt.Sprintf("ip link add flannel-v6.1 address %s mtu 1430 type vxlan id %d local %s dstport 8472 nolearning", mac(i), vni, ip(i)),
			fmt.Sprintf("ip addr add %s/128 dev flannel-v6.1", end(i)),
			"ip link set flannel-v6.1 up",
			fmt.Sprintf("ip route del %s", l.Nodes[j].Pods6), // the way that there is must not lead to the next stop
			fmt.Sprintf("ip route add %s via %s dev flannel-v6.1 onlink", l.Nodes[j].Pods6, end(j)),
			fmt.Sprintf("ip neigh replace %s lladdr %s dev flannel-v6.1 nud permanent", end(j), mac(j)),
			fmt.Sprintf("bridge fdb append %s dev flannel-v6.1 dst %s", mac(j), ip(j)),
		} {
			nettest.Run(t, n.Path, line)
		}
	}
}
