package policy_test

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/policy"
)

var update = flag.Bool("update", false, "write the golden files anew")

// cookbook is a world with the policies that everybody writes first.
type cookbook policy.Snapshot

func recipes() cookbook {
	pod := func(namespace, name, node, ip string, ports ...policy.NamedPort) policy.Pod {
		return policy.Pod{Namespace: namespace, Name: name, Node: node, Labels: map[string]string{"app": name},
			IPs: []netip.Addr{netip.MustParseAddr(ip)}, Ports: ports}
	}
	host := pod("default", "agent", "node-2", "172.30.0.12")
	host.HostNetwork = true
	app := func(name string) *policy.Selector { return &policy.Selector{Labels: map[string]string{"app": name}} }
	all := &policy.Selector{}
	in, out, both := policy.Directions{Ingress: true}, policy.Directions{Egress: true}, policy.Directions{Ingress: true, Egress: true}
	rule := func(ports []policy.Port, peers ...policy.Peer) []policy.Rule {
		return []policy.Rule{{Peers: peers, Ports: ports}}
	}
	return cookbook{
		Namespaces: []policy.Namespace{{Name: "default"}, {Name: "other", Labels: map[string]string{"team": "other"}}},
		Nodes:      []policy.Node{{Name: "node-1", IPs: nodeAddrs(1)}, {Name: "node-2", IPs: nodeAddrs(2)}},
		Pods: []policy.Pod{
			pod("default", "web", "node-1", "10.244.1.2", policy.NamedPort{Name: "http", Protocol: "TCP", Number: 8080}),
			pod("default", "client", "node-1", "10.244.1.3"), pod("other", "client", "node-2", "10.244.2.2"),
			pod("other", "web", "node-2", "10.244.2.3"), pod("other", "dns", "node-2", "10.244.2.4"), host,
		},
		Policies: []policy.Policy{
			{Name: "default-deny-ingress", Isolates: in},
			{Name: "default-deny-all", Isolates: both},
			{Name: "allow-all-ingress", Isolates: in, Ingress: []policy.Rule{{}}},
			{Name: "allow-client", Isolates: in, Pods: *app("web"),
				Ingress: rule([]policy.Port{{Protocol: "TCP", Number: 80}}, policy.Peer{Pods: app("client")})},
			{Name: "allow-same-namespace", Isolates: in, Ingress: rule(nil, policy.Peer{Pods: all})},
			{Name: "allow-from-namespace", Isolates: in, Pods: *app("web"), Ingress: rule(nil,
				policy.Peer{Namespaces: &policy.Selector{Labels: map[string]string{"team": "other"}}, Pods: app("client")})},
			{Name: "egress-dns-only", Isolates: out, Pods: *app("client"),
				Egress: rule([]policy.Port{{Protocol: "UDP", Number: 53}, {Protocol: "TCP", Number: 53}}, policy.Peer{Namespaces: all, Pods: app("dns")})},
			{Name: "from-outside-but-some", Isolates: in, Pods: *app("web"), Ingress: rule([]policy.Port{{Protocol: "TCP", Name: "http"}},
				policy.Peer{Block: &policy.Block{CIDR: netip.MustParsePrefix("192.0.2.0/24"), Except: []netip.Prefix{netip.MustParsePrefix("192.0.2.128/25")}}})},
			{Name: "a-range-of-ports", Isolates: in, Pods: *app("web"),
				Ingress: rule([]policy.Port{{Protocol: "TCP", Number: 8000, End: 8999}, {Protocol: "SCTP", Number: 7}, {Protocol: "UDP"}})},
		},
	}
}

// with is the world with some of the policies.
func (c cookbook) with(names ...string) policy.Snapshot {
	s := policy.Snapshot(c)
	s.Policies = nil
	for _, p := range c.Policies {
		if slices.Contains(names, p.Name) {
			p.Namespace = "default"
			s.Policies = append(s.Policies, p)
		}
	}
	return s
}

// The rules of node-1 for each recipe are those of the golden files.
func TestRecipes(t *testing.T) {
	all := recipes()
	for _, p := range all.Policies {
		t.Run(p.Name, func(t *testing.T) {
			got, file := policy.Rules("node-1", policy.Family{}, all.with(p.Name)).Render(), filepath.Join("testdata", p.Name+".txt")
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, string(want), got)
		})
	}
}

// What nobody isolates costs nothing, and a change carries only itself.
func TestOnlyWhatIsNeeded(t *testing.T) {
	all := recipes()
	require.Empty(t, policy.Rules("node-2", policy.Family{}, all.with("default-deny-all")), "a pod in its node's network is not isolated")
	require.Empty(t, policy.Rules("node-1", policy.Family{}, all.with()))

	before := policy.Rules("node-1", policy.Family{}, all.with("default-deny-ingress", "allow-same-namespace"))
	s := all.with("default-deny-ingress", "allow-same-namespace")
	s.Pods = append(slices.Clone(s.Pods), policy.Pod{Namespace: "default", Name: "zed", Node: "node-2", IPs: []netip.Addr{netip.MustParseAddr("10.244.2.9")}})
	text := policy.Rules("node-1", policy.Family{}, s).Changes(before)
	require.Equal(t, 1, strings.Count(text, "\n-"), text)
	require.Contains(t, text, `-s 10.244.2.9/32 -m comment --comment "NetworkPolicy default/allow-same-namespace spec.ingress[0].from[0]: pod default/zed" -j MARK --set-xmark 0x10000/0x10000`)
}
