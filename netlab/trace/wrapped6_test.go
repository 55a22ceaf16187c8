package trace_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/overlay"
	"github.com/klab-project/klab/netlab/proxy"
	"github.com/klab-project/klab/netlab/trace"
)

// Packets of IPv6 are within others of IPv6, as with flannel's second device.
func TestWrappedIPv6(t *testing.T) {
	l := buildWith(t, proxy.IPTables, overlay.VXLAN, true)
	var between []path
	for _, p := range paths {
		if slices.Contains([]string{"pod to pod, other node", "ClusterIP, other node", "NodePort with SNAT", "UDP, other node", "ping, other node"}, p.name) {
			between = append(between, p)
		}
	}
	l.paths(t, between)
	w, _ := l.follow(t, "pod/default/client", "b:8080", "tcp")
	require.True(t, within(t, w).Is6(), trace.Lines(w.Hops))
}

// They may be within others of IPv4 too; that is another way than klab's nodes
// are to take.
func TestWrappedInIPv4(t *testing.T) {
	l := buildWith(t, proxy.IPTables, overlay.VXLAN, true)
	l.wrap(t)
	l.surround(t)
	l.web(t, nil, "b")
	w, c := l.follow(t, "pod/default/client", "b:8080", "tcp")
	require.Equal(t, "answered", w.Outcome, trace.Lines(w.Hops))
	require.True(t, within(t, w).Is4(), trace.Lines(w.Hops))
	l.predicted(t, c, w, step.Differs)
}

// within is where the first packet around another one goes to.
func within(t *testing.T, w trace.Way) netip.Addr {
	i := slices.IndexFunc(w.Hops, func(h step.Hop) bool { return h.Layer == step.LayerEncap })
	require.Positive(t, i, trace.Lines(w.Hops))
	at, err := netip.ParseAddrPort(w.Hops[i].Outer.Dst)
	require.NoError(t, err)
	return at.Addr()
}

// wrap leads the pods' packets of IPv6 over a VXLAN link in IPv4.
func (l *lab) wrap(t *testing.T) {
	mac := func(i int) string { return fmt.Sprintf("0a:58:0a:f6:%02x:00", i+1) }
	end := func(i int) netip.Addr { return l.Nodes[i].Pods6.Masked().Addr() }
	for i, n := range l.Nodes {
		j := 1 - i
		for _, line := range []string{
			"ip link del flannel-v6.1",
			fmt.Sprintf("ip link add flannel-v6.1 address %s mtu 1430 type vxlan id 2 local %s dstport 8472 nolearning", mac(i), n.IP),
			fmt.Sprintf("ip addr add %s/128 dev flannel-v6.1", end(i)),
			"ip link set flannel-v6.1 up",
			fmt.Sprintf("ip route add %s via %s dev flannel-v6.1 onlink", l.Nodes[j].Pods6, end(j)),
			fmt.Sprintf("ip neigh replace %s lladdr %s dev flannel-v6.1 nud permanent", end(j), mac(j)),
			fmt.Sprintf("bridge fdb append %s dev flannel-v6.1 dst %s", mac(j), l.Nodes[j].IP),
		} {
			nettest.Run(t, n.Path, line)
		}
	}
}
