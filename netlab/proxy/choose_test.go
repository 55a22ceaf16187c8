package proxy_test

import (
	"net/netip"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/proxy"
)

// reached are the endpoints that the rules of node-1 lead to, in order.
func reached(s proxy.State) (list []string) {
	to := regexp.MustCompile(`--to-destination (\S+):8080`)
	for _, m := range to.FindAllStringSubmatch(proxy.Rules(node, s).Render(), -1) {
		list = append(list, m[1])
	}
	return list
}

// one makes an endpoint with conditions: "r" ready, "s" serving, "t" terminating.
func one(on, ip, conditions string) proxy.Endpoint {
	has := func(r rune) bool { return slices.Contains([]rune(conditions), r) }
	return proxy.Endpoint{IP: netip.MustParseAddr(ip), Node: on, Ready: has('r'), Serving: has('s'), Terminating: has('t')}
}

func TestWhichEndpoints(t *testing.T) {
	hinted := func(e proxy.Endpoint, zones, nodes []string) proxy.Endpoint {
		e.Zones, e.Nodes = zones, nodes
		return e
	}
	a, b, c := one("node-1", "10.0.0.1", "rs"), one("node-2", "10.0.0.2", "rs"), one("node-1", "10.0.0.3", "rs")
	local := service("web", "10.96.0.10")
	local.Ports[0].NodePort, local.ExternalLocal = 30080, true
	inside := service("web", "10.96.0.10")
	inside.InternalLocal = true
	for _, x := range []struct {
		name      string
		svc       proxy.Service
		endpoints []proxy.Endpoint
		want      []string
	}{
		{"ready ones", service("web", "10.96.0.10"), []proxy.Endpoint{a, b}, []string{"10.0.0.1", "10.0.0.2"}},
		{"not those that are not ready", service("web", "10.96.0.10"), []proxy.Endpoint{a, one("node-2", "10.0.0.2", "s")}, []string{"10.0.0.1"}},
		{"not ready, and published all the same", service("web", "10.96.0.10"), []proxy.Endpoint{one("node-1", "10.0.0.1", "r")}, []string{"10.0.0.1"}},
		{"not those that end", service("web", "10.96.0.10"), []proxy.Endpoint{a, one("node-2", "10.0.0.2", "st")}, []string{"10.0.0.1"}},
		{"those that end, if there are no others", service("web", "10.96.0.10"), []proxy.Endpoint{one("node-2", "10.0.0.2", "st"), one("node-1", "10.0.0.3", "t")}, []string{"10.0.0.2"}},
		{"local ones that end, and ready ones elsewhere", local, []proxy.Endpoint{one("node-1", "10.0.0.1", "st"), b}, []string{"10.0.0.1", "10.0.0.2"}},
		{"only local ones", inside, []proxy.Endpoint{a, b}, []string{"10.0.0.1"}},
		{"an address that another pod has again", service("web", "10.96.0.10"), []proxy.Endpoint{one("node-2", "10.0.0.1", "st"), a}, []string{"10.0.0.1"}},
		{"for this zone", service("web", "10.96.0.10"), []proxy.Endpoint{hinted(a, []string{"zone-a"}, nil), hinted(b, []string{"zone-b"}, nil)}, []string{"10.0.0.1"}},
		{"for this node before the zone", service("web", "10.96.0.10"), []proxy.Endpoint{
			hinted(a, []string{"zone-a"}, []string{"node-1"}), hinted(c, []string{"zone-a"}, []string{"node-3"})}, []string{"10.0.0.1"}},
		{"no hint for this zone: all", service("web", "10.96.0.10"), []proxy.Endpoint{hinted(a, []string{"zone-b"}, nil), hinted(b, []string{"zone-c"}, nil)}, []string{"10.0.0.1", "10.0.0.2"}},
		{"one without a hint: all", service("web", "10.96.0.10"), []proxy.Endpoint{hinted(a, []string{"zone-a"}, nil), b}, []string{"10.0.0.1", "10.0.0.2"}},
		{"local ones that are for another zone too", local, []proxy.Endpoint{hinted(a, []string{"zone-b"}, nil), hinted(b, []string{"zone-a"}, nil)}, []string{"10.0.0.1", "10.0.0.2"}},
	} {
		s := slice("web")
		s.Endpoints = x.endpoints
		require.Equal(t, x.want, reached(state(x.svc, s)), x.name)
	}
}
