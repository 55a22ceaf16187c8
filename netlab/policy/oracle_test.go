package policy_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/klab-project/klab/netlab/policy"
)

// The oracle and the rules agree about every packet, without a kernel: each end
// asks the rules of its node.
func TestOracleAndRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := snapshotOf(t)
		saved := map[string]string{}
		for _, n := range s.Nodes {
			saved[n.Name] = strings.ReplaceAll(policy.Rules(n.Name, policy.Family{}, s).Render(), "\n-I ", "\n-A ") // as if it had been saved
		}
		for range 50 {
			shot := shotOf(t)
			allowed := true
			for _, side := range []end{shot.from, shot.to} {
				if side.pod < 0 || shot.from == shot.to || shot.from.at() == shot.to.at() && (shot.from.pod < 0 || shot.to.pod < 0) {
					continue // a node's own packets do not pass these chains
				}
				w, err := policy.Walk(saved[side.at()], shot.Packet)
				if err != nil {
					t.Fatal(err)
				}
				allowed = allowed && w.Allowed
			}
			if v := policy.Allowed(s, shot.Packet); v.Allowed != allowed {
				t.Fatalf("%s: the oracle says %v (%s), the rules %v\n%+v\n%s%s", shot, v.Allowed, v.Why(), allowed, s, saved["node-1"], saved["node-2"])
			}
		}
	})
}

// The answers that the documentation gives, one by one.
func TestVerdicts(t *testing.T) {
	s := recipes()
	for _, c := range []struct {
		name     string
		policies []string
		from, to string
		protocol string
		port     int
		why      string
		allowed  bool
	}{
		{"nothing is isolated", nil, "default/client", "default/web", "TCP", 80, "no NetworkPolicy is about it", true},
		{"default deny", []string{"default-deny-ingress"}, "default/client", "default/web", "TCP", 80,
			"pod default/web is isolated for ingress by default/default-deny-ingress, and no rule allows this", false},
		{"default deny of another namespace", []string{"default-deny-ingress"}, "default/client", "other/web", "TCP", 80, "no NetworkPolicy is about it", true},
		{"a pod reaches itself", []string{"default-deny-all"}, "default/web", "default/web", "TCP", 80,
			"a pod always reaches itself, and this is default/web; a pod always reaches itself, and this is default/web", true},
		{"its node reaches it", []string{"default-deny-all"}, "node-1", "default/web", "TCP", 80,
			"ingress of pod default/web from and to its own node is always allowed", true},
		{"it reaches its node", []string{"default-deny-all"}, "default/web", "node-1", "TCP", 10250,
			"egress of pod default/web from and to its own node is always allowed", true},
		{"another node does not", []string{"default-deny-all"}, "node-2", "default/web", "TCP", 80,
			"pod default/web is isolated for ingress by default/default-deny-all, and no rule allows this", false},
		{"policies add up", []string{"default-deny-ingress", "allow-client"}, "default/client", "default/web", "TCP", 80,
			"ingress of pod default/web is allowed by spec.ingress[0].from[0], ports[0] of default/allow-client", true},
		{"on its port only", []string{"default-deny-ingress", "allow-client"}, "default/client", "default/web", "TCP", 81,
			"pod default/web is isolated for ingress by default/allow-client, default/default-deny-ingress, and no rule allows this", false},
		{"a selector is about its own namespace", []string{"allow-client"}, "other/client", "default/web", "TCP", 80,
			"pod default/web is isolated for ingress by default/allow-client, and no rule allows this", false},
		{"both selectors in one peer", []string{"allow-from-namespace"}, "other/client", "default/web", "TCP", 80,
			"ingress of pod default/web is allowed by spec.ingress[0].from[0] of default/allow-from-namespace", true},
		{"ping needs a rule without ports", []string{"allow-client"}, "default/client", "default/web", "ICMP", 0,
			"pod default/web is isolated for ingress by default/allow-client, and no rule allows this", false},
		{"egress to names only", []string{"egress-dns-only"}, "default/client", "other/dns", "UDP", 53,
			"egress of pod default/client is allowed by spec.egress[0].to[0], ports[0] of default/egress-dns-only", true},
		{"and nowhere else", []string{"egress-dns-only"}, "default/client", "192.0.2.10", "TCP", 443,
			"pod default/client is isolated for egress by default/egress-dns-only, and no rule allows this", false},
		{"the node's network is not isolated", []string{"default-deny-all"}, "default/client", "172.30.0.12", "TCP", 80,
			"pod default/client is isolated for egress by default/default-deny-all, and no rule allows this", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.with(c.policies...)
			v := policy.Allowed(s, policy.Packet{From: addrOf(t, s, c.from), To: addrOf(t, s, c.to), Protocol: c.protocol, Port: c.port})
			require.Equal(t, c.why, v.Why())
			require.Equal(t, c.allowed, v.Allowed)
		})
	}
}

// addrOf is the address of a pod, a node (its bridge's), or an address.
func addrOf(t *testing.T, s policy.Snapshot, name string) netip.Addr {
	t.Helper()
	for _, n := range s.Nodes {
		if n.Name == name {
			return n.IPs[1]
		}
	}
	for _, p := range s.Pods {
		if p.String() == name {
			return p.IPs[0]
		}
	}
	return netip.MustParseAddr(name)
}
