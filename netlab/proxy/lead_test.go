package proxy_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/proxy"
)

// leads are packets to the Service 10.96.0.10:80, whose NodePort is 30080, and
// what node-1 does with them. Endpoint 10.244.1.2 is on node-1, 10.244.2.2 on
// node-2.
var leads = []struct {
	name     string
	change   func(*proxy.Service)
	from, to string
	local    bool
	here     bool
	on       []string // the endpoints' last bytes but one; all unless said
	want     string
}{
	{name: "a pod to the cluster IP", from: "10.244.1.9", to: "10.96.0.10:80", want: "dnat 10.244.1.2:8080 10.244.2.2:8080"},
	{name: "somebody else to the cluster IP", from: "172.30.0.11", to: "10.96.0.10:80", local: true, want: "dnat masquerade 10.244.1.2:8080 10.244.2.2:8080"},
	{name: "internal traffic stays", change: func(s *proxy.Service) { s.InternalLocal = true }, from: "10.244.1.9", to: "10.96.0.10:80", want: "dnat 10.244.1.2:8080"},
	{name: "internal traffic has nowhere to stay", change: func(s *proxy.Service) { s.InternalLocal = true }, on: []string{"2"}, from: "10.244.1.9", to: "10.96.0.10:80", want: "drop"},
	{name: "nobody is there", on: []string{"none"}, from: "10.244.1.9", to: "10.96.0.10:80", want: "reject"},
	{name: "the outside to the node port", from: "192.0.2.10", to: "172.30.0.11:30080", here: true, want: "dnat masquerade 10.244.1.2:8080 10.244.2.2:8080"},
	{name: "the outside to another node's port", from: "192.0.2.10", to: "172.30.0.12:30080", want: ""},
	{name: "external traffic stays, and keeps its address", change: func(s *proxy.Service) { s.ExternalLocal = true }, from: "192.0.2.10", to: "172.30.0.11:30080", here: true, want: "dnat 10.244.1.2:8080"},
	{name: "external traffic has nowhere to stay", change: func(s *proxy.Service) { s.ExternalLocal = true }, on: []string{"2"}, from: "192.0.2.10", to: "172.30.0.11:30080", here: true, want: "drop"},
	{name: "a pod's external traffic goes anywhere", change: func(s *proxy.Service) { s.ExternalLocal = true }, on: []string{"2"}, from: "10.244.1.9", to: "172.30.0.11:30080", here: true, want: "dnat 10.244.2.2:8080"},
	{name: "the node's too", change: func(s *proxy.Service) { s.ExternalLocal = true }, on: []string{"2"}, from: "172.30.0.11", to: "172.30.0.11:30080", local: true, here: true, want: "dnat masquerade 10.244.2.2:8080"},
	{name: "a load balancer for few", change: func(s *proxy.Service) {
		s.LoadBalancerIPs, s.SourceRanges = []netip.Addr{netip.MustParseAddr("192.0.2.50")}, []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	}, from: "192.0.2.10", to: "192.0.2.50:80", want: "drop masquerade"},
	{name: "the bridge's address is a node's too, except to nftables", from: "10.244.1.9", to: "10.244.1.1:30080", here: true,
		want: "dnat masquerade 10.244.1.2:8080 10.244.2.2:8080; nftables: "},
	{name: "a port that the Service does not have", from: "10.244.1.9", to: "10.96.0.10:81", want: "; nftables: reject; ipvs: reject"},
	{name: "a cluster IP that nobody has", from: "10.244.1.9", to: "10.96.0.99:80", want: "; nftables: drop"},
	{name: "a pod", from: "10.244.1.9", to: "10.244.2.2:8080", want: ""},
}

func TestLead(t *testing.T) {
	node := proxy.Node{Name: "node-1", IP: netip.MustParseAddr("172.30.0.11"), Pods: netip.MustParsePrefix("10.244.0.0/16"), Services: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12")}}
	for _, x := range leads {
		t.Run(x.name, func(t *testing.T) {
			svc := proxy.Service{Namespace: "default", Name: "web", ClusterIP: netip.MustParseAddr("10.96.0.10"), Ports: []proxy.Port{{Protocol: "TCP", Port: 80, NodePort: 30080}}}
			if x.change != nil {
				x.change(&svc)
			}
			slice := proxy.Slice{Namespace: "default", Service: "web", Ports: []proxy.SlicePort{{Protocol: "TCP", Port: 8080}}}
			for _, n := range []string{"1", "2"} {
				if len(x.on) == 0 || x.on[0] == n {
					slice.Endpoints = append(slice.Endpoints, proxy.Endpoint{IP: netip.MustParseAddr("10.244." + n + ".2"), Node: "node-" + n, Ready: true})
				}
			}
			s := proxy.State{Services: []proxy.Service{svc}, Slices: []proxy.Slice{slice}}
			got := ""
			for _, mode := range proxy.Modes() {
				l := s.Lead(node, mode, proxy.Packet{From: netip.MustParseAddr(x.from), To: netip.MustParseAddrPort(x.to), Protocol: "TCP", Local: x.local, Here: x.here})
				said := string(l.Verdict)
				if l.Masquerade {
					said += " masquerade"
				}
				for _, e := range l.Endpoints {
					said += " " + e.String()
				}
				if mode == proxy.IPTables {
					got = said
				} else if first, _, _ := strings.Cut(got, ";"); said != first {
					got += fmt.Sprintf("; %s: %s", mode, said)
				}
			}
			require.Equal(t, x.want, got)
		})
	}
}
