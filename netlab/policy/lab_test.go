package policy_test

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/firewall"
	"github.com/klab-project/klab/netlab/labtest"
	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/policy"
)

// lab is the world of random tests with real namespaces. In every one there are
// servers at all ports.
type lab struct {
	*labtest.Lab
	tool   *firewall.Tool
	nodes  []*link.Net
	guards []*policy.Guard
	paths  map[end]string
}

// tools are the iptables of this machine that work, each with a lock of its own.
func tools(t *testing.T) (list []*firewall.Tool) {
	t.Helper()
	for _, name := range []string{"iptables-nft", "iptables-legacy"} {
		tool, err := firewall.Named(context.Background(), name)
		if err != nil {
			continue
		}
		tool.Lock = filepath.Join(t.TempDir(), "lock")
		if tool.Feed(context.Background(), nettest.Open(t, nettest.Namespace(t, "try")), "*filter\n-A FORWARD -j ACCEPT\nCOMMIT\n") == nil {
			list = append(list, tool)
		}
	}
	require.NotEmpty(t, list)
	return list
}

func build(t *testing.T, tool *firewall.Tool) *lab {
	t.Helper()
	l := &lab{Lab: labtest.Build(t, 2, labtest.Config{}), tool: tool}
	l.paths = map[end]string{{pod: -1}: l.OutsideNS()}
	for i, n := range l.Nodes {
		l.nodes, l.paths[end{node: i + 1, pod: -1}] = append(l.nodes, n.Net), n.Path
		l.guards = append(l.guards, &policy.Guard{Node: n.Name, Hands: policy.Tables{Tool: tool, Net: n.Net}})
		nettest.Run(t, l.GatewayNS(), fmt.Sprintf("ip route add %s via %s", n.Pods, n.IP))
		nettest.Run(t, n.Path, "sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv4.icmp_ratemask=0")
	}
	for i, h := range homes {
		path, ips := l.Nodes[h.node[5]-'1'].Pod(t, h.namespace, h.name)
		require.Equal(t, []netip.Addr{podAddr(i)}, ips)
		l.paths[end{pod: i}] = path
	}
	for e, path := range l.paths {
		for _, port := range ports {
			echoTCP(t, path, port, e.String())
			echoUDP(t, path, netip.AddrPortFrom(e.addr(), uint16(port)).String(), e.String())
		}
		takeSCTP(t, path)
	}
	return l
}

func (l *lab) sync(s policy.Snapshot) error {
	for _, g := range l.guards {
		if err := g.Sync(context.Background(), s); err != nil {
			return err
		}
	}
	return nil
}

// iptables runs the machine's iptables in a node, from 1.
func (l *lab) iptables(t *testing.T, node int, args string) string {
	t.Helper()
	return nettest.Run(t, l.paths[end{node: node, pod: -1}], "XTABLES_LOCKFILE="+l.tool.Lock+" "+strings.TrimSuffix(l.tool.Restore, "-restore")+" "+args)
}
