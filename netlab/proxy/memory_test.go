package proxy_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/klab-project/klab/netlab/proxy"
)

// What is remembered is never other than what would be written anew, whatever
// changes from one time to the next.
func TestMemoryGivesWhatRulesGive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m proxy.Memory
		n, s := node, many(3)
		for range rapid.IntRange(1, 12).Draw(t, "changes") {
			mutate(t, &n, &s)
			require.Equal(t, proxy.Rules(n, s), m.Rules(n, s))
		}
	})
}

// mutate changes something of a node or of what it leads to.
func mutate(t *rapid.T, n *proxy.Node, s *proxy.State) {
	i := rapid.IntRange(0, len(s.Services)-1).Draw(t, "of")
	svc, end := &s.Services[i], &s.Slices[i].Endpoints[0]
	local := rapid.Bool().Draw(t, "bool")
	addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(rapid.IntRange(1, 9).Draw(t, "addr"))})
	changes := []func(){
		func() {},
		func() { n.Zone = fmt.Sprint("zone-", local) },
		func() { n.Name = "node-2" },
		func() { svc.InternalLocal = local },
		func() { svc.ExternalLocal = local },
		func() { svc.Affinity = 10 },
		func() { svc.ClusterIP = addr },
		func() { svc.ExternalIPs = append(svc.ExternalIPs, addr) },
		func() { svc.LoadBalancerIPs = []netip.Addr{addr} },
		func() { svc.SourceRanges = []netip.Prefix{netip.PrefixFrom(addr, 24)} },
		func() { svc.HealthCheckNodePort = 32000 },
		func() { svc.Ports[0].NodePort = 31000 + int(addr.As4()[3]) },
		func() {
			svc.Ports = append(svc.Ports, proxy.Port{Name: fmt.Sprint("more-", len(svc.Ports)), Protocol: "UDP", Port: 53})
		},
		func() { end.Ready = local },
		func() { end.Terminating = local },
		func() { end.Node = "node-2" },
		func() { end.Zones = []string{"zone-true"} },
		func() { end.IP = addr },
		func() {
			s.Services = append(s.Services, service(fmt.Sprint("new-", len(s.Services)), addr.String()))
			s.Slices = append(s.Slices, slice(s.Services[len(s.Services)-1].Name, here))
		},
		func() { s.Services[i], s.Services[0] = s.Services[0], s.Services[i] },
	}
	changes[rapid.IntRange(0, len(changes)-1).Draw(t, "what")]()
}
