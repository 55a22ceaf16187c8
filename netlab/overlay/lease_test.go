package overlay_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/overlay"
)

func lease(node, subnet, ip string, age int) overlay.Lease {
	l := overlay.Lease{Node: node, Subnet: netip.MustParsePrefix(subnet), Since: time.Unix(int64(1000-age), 0), BackendType: overlay.HostGW, BackendData: "null"}
	l.PublicIP, _ = netip.ParseAddr(ip)
	return l
}

func TestJudge(t *testing.T) {
	underlay := netip.MustParsePrefix("172.30.0.0/24")
	one, two := lease("node-1", "10.244.1.0/24", "172.30.0.11", 9), lease("node-2", "10.244.2.0/24", "172.30.0.12", 8)
	for _, x := range []struct {
		name string
		more overlay.Lease
		says string // empty: it is good
		with string
	}{
		{"a third node", lease("node-3", "10.244.3.0/24", "172.30.0.13", 7), "", ""},
		{"the same subnet, younger", lease("late", "10.244.1.0/24", "172.30.0.13", 1), "overlaps with 10.244.1.0/24 of node node-1", "node-1"},
		{"a part of it", lease("late", "10.244.2.128/25", "172.30.0.13", 1), "overlaps with 10.244.2.0/24 of node node-2", "node-2"},
		{"as old: by name", lease("node-9", "10.244.1.0/24", "172.30.0.13", 9), "overlaps with 10.244.1.0/24 of node node-1", "node-1"},
		{"older, but nobody's", lease("ghost", "10.244.1.0/24", "", 99), "overlaps with 10.244.1.0/24 of node node-1", "node-1"},
		{"outside of the network", lease("late", "10.99.1.0/24", "172.30.0.13", 1), "not part of the pod network 10.244.0.0/16", ""},
		{"the whole network and more", lease("late", "10.0.0.0/8", "172.30.0.13", 1), "not part of the pod network", ""},
		{"the underlay", lease("late", "172.30.0.0/25", "172.30.0.13", 1), "overlaps with the nodes' own network", ""},
		{"another's address", lease("late", "10.244.7.0/24", "172.30.0.12", 1), "its address 172.30.0.12 is that of node node-2", "node-2"},
	} {
		good, bad := overlay.Judge([]overlay.Lease{x.more, two, one}, podNet, underlay)
		if x.says == "" {
			require.Empty(t, bad, x.name)
			require.Len(t, good, 3, x.name)
			continue
		}
		require.Equal(t, []overlay.Lease{one, two}, good, x.name)
		require.Len(t, bad, 1, x.name)
		require.Equal(t, x.more.Node, bad[0].Node, x.name)
		require.Equal(t, x.with, bad[0].With, x.name)
		require.Contains(t, bad[0].Says, x.says, x.name)
	}
}

func TestLeaseInAnnotations(t *testing.T) {
	l := lease("node-1", "10.244.1.0/24", "172.30.0.11", 0)
	l.BackendType, l.BackendData = overlay.VXLAN, `{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}`
	got, err := overlay.LeaseOf("node-1", []string{"10.244.1.0/24"}, l.Since, l.Annotations())
	require.NoError(t, err)
	require.Equal(t, l, got)
	require.Equal(t, "02:00:00:00:00:01", got.Peer().MAC)
	both := []string{"10.244.1.0/24", "fd00:10:244:1::/64"}
	l.Subnet6, l.PublicIP6, l.BackendData6 = netip.MustParsePrefix(both[1]), netip.MustParseAddr("fd00:172:30::b"), `{"VNI":1,"VtepMAC":"02:00:00:00:00:02"}`
	got, err = overlay.LeaseOf("node-1", both, l.Since, l.Annotations())
	require.NoError(t, err)
	require.Equal(t, l, got)
	require.Equal(t, "fd00:172:30::b", l.Annotations()["flannel.alpha.coreos.com/public-ipv6"])
	require.Equal(t, `{"VNI":1,"VtepMAC":"02:00:00:00:00:02"}`, l.Annotations()["flannel.alpha.coreos.com/backend-v6-data"])
	_, err = overlay.LeaseOf("node-1", nil, l.Since, l.Annotations())
	require.ErrorIs(t, err, overlay.ErrNoLease)
	got, err = overlay.LeaseOf("node-1", []string{"10.244.1.0/24"}, l.Since, nil)
	require.NoError(t, err)
	require.False(t, got.PublicIP.IsValid())
	_, err = overlay.LeaseOf("node-1", []string{"10.244.1.0/33"}, l.Since, nil)
	require.Error(t, err)
}

func TestNetConf(t *testing.T) {
	six := netip.MustParsePrefix("fd00:10:244::/48")
	for _, x := range []struct{ text, says string }{
		{`{"Network":"10.244.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:10:244::/48","Backend":{"Type":"vxlan"}}`, ""},
		{`{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}`, ""},
		{`{"Network":"10.244.0.0/16","EnableIPv6":false,"Backend":{"Type":"vxlan"}}`, "EnableIPv6 false, but this cluster was made with IPv6"},
		{`{"Network":"10.244.0.0/16","IPv6Network":"fd00:9::/48","Backend":{"Type":"vxlan"}}`, "the pods of this cluster are in fd00:10:244::/48"},
	} {
		_, err := overlay.ParseNetConf(x.text, podNet, six)
		if x.says != "" {
			require.ErrorContains(t, err, x.says)
		} else {
			require.NoError(t, err)
		}
	}
	again, err := overlay.ParseNetConf(overlay.NewNetConf(podNet, six, overlay.BGP).Text(), podNet, six)
	require.NoError(t, err)
	require.Equal(t, overlay.NewNetConf(podNet, six, overlay.BGP), again)
	for _, x := range []struct{ text, says string }{
		{`{"Network":"10.244.0.0/16","Backend":{"Type":"udp"}}`, ""},
		{`{"Network":"10.244.0.0/16","EnableIPv6":true,"Backend":{"Type":"udp"}}`, "EnableIPv6 true, but this cluster was made without IPv6"},
		{`{"Network":"10.244.0.0/16","EnableIPv4":true,"Backend":{"Type":"vxlan","VNI":1,"Port":8472}}`, ""},
		{``, "missing or empty"},
		{`{"Network":`, "cannot be read"},
		{`{"Network":"10.244.0.0","Backend":{"Type":"udp"}}`, "cannot be read"},
		{`{"Network":"10.244.0.0/16","Backend":{"Type":"ipsec"}}`, `"ipsec"; there are vxlan, host-gw, udp, bgp`},
		{`{"Network":"10.244.0.0/16"}`, `the Backend.Type ""`},
		{`{"Network":"10.0.0.0/8","Backend":{"Type":"udp"}}`, "the pods of this cluster are in 10.244.0.0/16"},
		{`{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan","VNI":7}}`, "Backend.VNI 7"},
		{`{"Network":"10.244.0.0/16","Backend":{"Type":"udp","Port":1}}`, "Backend.Port 1"},
	} {
		c, err := overlay.ParseNetConf(x.text, podNet, netip.Prefix{})
		if x.says != "" {
			require.ErrorContains(t, err, x.says)
			continue
		}
		require.NoError(t, err)
		again, err := overlay.ParseNetConf(c.Text(), podNet, netip.Prefix{})
		require.NoError(t, err)
		require.Equal(t, c, again)
	}
}
