package proxy_test

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/proxy"
)

var update = flag.Bool("update", false, "write the golden files anew")

var node = proxy.Node{
	Name: "node-1", Zone: "zone-a",
	IP: netip.MustParseAddr("172.30.0.11"), Pods: netip.MustParsePrefix("10.244.0.0/16"),
	Services: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12")},
}

func ips(list ...string) (out []netip.Addr) {
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// service has one unnamed TCP port 80.
func service(name, ip string) proxy.Service {
	return proxy.Service{Namespace: "default", Name: name, ClusterIP: netip.MustParseAddr(ip), Ports: []proxy.Port{{Protocol: "TCP", Port: 80}}}
}

// slice has endpoints behind TCP port 8080 of addresses such as "node-1/10.244.1.2".
func slice(service string, places ...string) proxy.Slice {
	s := proxy.Slice{Namespace: "default", Service: service, Ports: []proxy.SlicePort{{Protocol: "TCP", Port: 8080}}}
	for _, place := range places {
		on, ip, _ := strings.Cut(place, "/")
		s.Endpoints = append(s.Endpoints, proxy.Endpoint{IP: netip.MustParseAddr(ip), Node: on, Ready: true, Serving: true})
	}
	return s
}

func state(svc proxy.Service, slices ...proxy.Slice) proxy.State {
	return proxy.State{Services: []proxy.Service{svc}, Slices: slices}
}

const here, there = "node-1/10.244.1.2", "node-2/10.244.2.2"

// cases are the situations that rules differ in.
func cases() map[string]proxy.State {
	port := func(s proxy.Service, p proxy.Port) proxy.Service { s.Ports = []proxy.Port{p}; return s }
	web := service("web", "10.96.0.10")
	nodePort := port(web, proxy.Port{Protocol: "TCP", Port: 80, NodePort: 30080})
	local := nodePort
	local.ExternalLocal = true
	balanced := nodePort
	balanced.ExternalIPs, balanced.LoadBalancerIPs = ips("192.0.2.50"), ips("192.0.2.51")
	guarded := balanced
	guarded.ExternalLocal, guarded.HealthCheckNodePort = true, 31000
	guarded.SourceRanges = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("172.30.0.0/24")}
	sticky, inside := web, web
	sticky.Affinity, inside.InternalLocal = 10800, true
	named := web
	named.Ports = []proxy.Port{{Name: "dns", Protocol: "UDP", Port: 53}, {Name: "dns-tcp", Protocol: "TCP", Port: 53}, {Name: "signal", Protocol: "SCTP", Port: 9}}
	namedSlice := slice("web", here)
	namedSlice.Ports = []proxy.SlicePort{{Name: "dns", Protocol: "UDP", Port: 5353}, {Name: "dns-tcp", Protocol: "TCP", Port: 5353}, {Name: "signal", Protocol: "SCTP", Port: 99}}
	return map[string]proxy.State{
		"nothing":           {},
		"three-endpoints":   state(web, slice("web", here, there), slice("web", "node-2/10.244.2.3")),
		"no-endpoints":      state(balanced),
		"node-port":         state(nodePort, slice("web", here, there)),
		"node-port-local":   state(local, slice("web", here, there)),
		"not-local":         state(local, slice("web", there)),
		"load-balancer":     state(balanced, slice("web", there)),
		"source-ranges":     state(guarded, slice("web", here)),
		"affinity":          state(sticky, slice("web", here, there)),
		"internal-local":    state(inside, slice("web", here, there)),
		"internal-nowhere":  state(inside, slice("web", there)),
		"ports-by-protocol": state(named, namedSlice),
	}
}

func TestGolden(t *testing.T) {
	for name, s := range cases() {
		for ext, r := range map[string]proxy.Ruleset{
			".rules": proxy.Tables{Rules: proxy.Rules(node, s)}, ".nft": proxy.NFTRules(node, s), ".ipvs": proxy.IPVSRules(node, s),
		} {
			t.Run(name+ext, func(t *testing.T) {
				got, file := r.Render(), filepath.Join("testdata", name+ext)
				if *update {
					require.NoError(t, os.MkdirAll("testdata", 0o755))
					require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
				}
				want, err := os.ReadFile(file)
				require.NoError(t, err)
				require.Equal(t, string(want), got)
			})
		}
	}
}

// Of IPv6 the rules are the same, but for the words that have to do with it.
func TestGoldenIPv6(t *testing.T) {
	six := proxy.Node{Name: "node-1", IP: netip.MustParseAddr("fd00:172:30::b"),
		Pods: netip.MustParsePrefix("fd00:10:244::/48"), Services: []netip.Prefix{netip.MustParsePrefix("fd00:10:96::/112"), netip.MustParsePrefix("fd00:10:97::/108")}}
	svc := service("web", "fd00:10:96::a")
	svc.Ports[0].NodePort, svc.Affinity = 30080, 60
	s := state(svc, slice("web", "node-1/fd00:10:244:1::2", "node-2/fd00:10:244:2::2"))
	none := service("none", "fd00:10:96::b")
	guarded := service("guarded", "fd00:10:96::c")
	guarded.Ports = []proxy.Port{{Name: "signal", Protocol: "SCTP", Port: 9, NodePort: 30009}}
	guarded.LoadBalancerIPs, guarded.SourceRanges = ips("2001:db8:198::1"), []netip.Prefix{netip.MustParsePrefix("2001:db8:192::/64")}
	s.Services = append(s.Services, none, guarded)
	behind := slice("guarded", "node-1/fd00:10:244:1::3")
	behind.Ports = []proxy.SlicePort{{Name: "signal", Protocol: "SCTP", Port: 99}}
	s.Slices = append(s.Slices, behind)
	for ext, r := range map[string]proxy.Ruleset{".rules6": proxy.Tables{Rules: proxy.Rules(six, s)}, ".nft6": proxy.NFTRules(six, s), ".ipvs6": proxy.IPVSRules(six, s)} {
		got, file := r.Render(), filepath.Join("testdata", "both-families"+ext)
		if *update {
			require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
		}
		want, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, string(want), got)
	}
}

// The names that kube-proxy gives: every cluster has the first one.
func TestNamesAreUpstreams(t *testing.T) {
	s := proxy.State{Services: []proxy.Service{{Namespace: "default", Name: "kubernetes", ClusterIP: netip.MustParseAddr("10.96.0.1"),
		Ports: []proxy.Port{{Name: "https", Protocol: "TCP", Port: 443}}}}}
	s.Slices = []proxy.Slice{{Namespace: "default", Service: "kubernetes", Ports: []proxy.SlicePort{{Name: "https", Protocol: "TCP", Port: 6443}},
		Endpoints: []proxy.Endpoint{{IP: netip.MustParseAddr("172.30.0.2"), Ready: true}}}}
	require.Contains(t, proxy.Rules(node, s).Render(),
		`-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m comment --comment "default/kubernetes:https cluster IP" -m tcp --dport 443 -j KUBE-SVC-NPX46M4PTMTKRN6Y`)
}

// One more Service changes one rule of KUBE-SERVICES, and no chain of others.
func TestOnlyWhatChanged(t *testing.T) {
	var s proxy.State
	for i := range 10 {
		name := fmt.Sprint("svc-", i)
		s.Services = append(s.Services, service(name, fmt.Sprint("10.96.1.", i)))
		s.Slices = append(s.Slices, slice(name, fmt.Sprint("node-2/10.244.2.", i+2)))
	}
	before := proxy.Rules(node, s)
	s.Services = append(s.Services, service("svc-1a", "10.96.2.1"))
	s.Slices = append(s.Slices, slice("svc-1a", here))
	after := proxy.Rules(node, s)
	require.Regexp(t, `^\*nat
:KUBE-SVC-\w+ - \[0:0\]
:KUBE-SEP-\w+ - \[0:0\]
-I KUBE-SERVICES 3 -d 10.96.2.1/32 .*
-A KUBE-SVC-\w+ ! -s 10.244.0.0/16 -d 10.96.2.1/32 .* -j KUBE-MARK-MASQ
-A KUBE-SVC-\w+ .* -j KUBE-SEP-\w+
-A KUBE-SEP-\w+ -s 10.244.1.2/32 .* -j KUBE-MARK-MASQ
-A KUBE-SEP-\w+ -p tcp .* --to-destination 10.244.1.2:8080
COMMIT
$`, after.Changes(before))
	require.Regexp(t, `^\*nat
:KUBE-SEP-\w+ - \[0:0\]
:KUBE-SVC-\w+ - \[0:0\]
-D KUBE-SERVICES -d 10.96.2.1/32 .*
-X KUBE-SEP-\w+
-X KUBE-SVC-\w+
COMMIT
$`, before.Changes(after))
}
