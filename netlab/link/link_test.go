package link_test

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/nettest"
)

func open(t *testing.T, name string) *link.Net {
	t.Helper()
	return nettest.Open(t, nettest.Namespace(t, name))
}

func TestEveryVerbTwice(t *testing.T) {
	a, b := open(t, "a"), open(t, "b")
	ctx, r := nettest.WithTrail(context.Background())
	ip := netip.MustParseAddr("10.0.0.1")
	p := netip.MustParsePrefix
	mac := link.MACOf(ip)

	verbs := []struct {
		name string
		do   func() error
		line string // of the trail, without its nsenter
	}{
		{"veth", func() error {
			return a.Veth(ctx, link.Veth{Name: "v0", PeerName: "eth0", PeerMAC: mac, MTU: 1400, Peer: b})
		}, "ip link add v0 mtu 1400 type veth peer name eth0 address 0a:58:0a:00:00:01 netns " + b.Path()},
		{"bridge", func() error { return a.Bridge(ctx, "br0", mac, 0) },
			"ip link add br0 address 0a:58:0a:00:00:01 type bridge mcast_snooping 0"},
		{"master", func() error { return a.Master(ctx, "v0", "br0") }, "ip link set v0 master br0"},
		{"hairpin", func() error { return a.Hairpin(ctx, "v0", true) }, "bridge link set dev v0 hairpin on"},
		{"alias", func() error { return a.Alias(ctx, "v0", "default/web") }, "ip link set v0 alias default/web"},
		{"up", func() error { return a.Up(ctx, "v0") }, "ip link set v0 up"},
		{"bridge up", func() error { return a.Up(ctx, "br0") }, "ip link set br0 up"},
		{"mtu", func() error { return a.MTU(ctx, "br0", 1300) }, "ip link set br0 mtu 1300"},
		{"peer up", func() error { return b.Up(ctx, "eth0") }, "ip link set eth0 up"},
		{"addr", func() error { return b.Addr(ctx, "eth0", p("10.0.0.1/24")) }, "ip addr add 10.0.0.1/24 dev eth0"},
		{"route", func() error {
			return b.Route(ctx, link.Route{Dst: p("0.0.0.0/0"), Via: netip.MustParseAddr("10.0.0.254"), Dev: "eth0"})
		}, "ip route replace default via 10.0.0.254 dev eth0"},
		{"link route", func() error { return b.Route(ctx, link.Route{Dst: p("10.7.0.0/16"), Dev: "eth0"}) },
			"ip route replace 10.7.0.0/16 dev eth0"},
		{"vxlan", func() error {
			return b.Vxlan(ctx, link.Vxlan{Name: "flannel.1", VNI: 1, Port: 8472, Local: ip, Dev: "eth0", MAC: mac})
		}, "ip link add flannel.1 address 0a:58:0a:00:00:01 type vxlan id 1 dstport 8472 local 10.0.0.1 dev eth0 nolearning"},
		{"vxlan up", func() error { return b.Up(ctx, "flannel.1") }, "ip link set flannel.1 up"},
		{"onlink", func() error {
			return b.Route(ctx, link.Route{Dst: p("10.9.0.0/24"), Via: netip.MustParseAddr("10.9.0.0"), Dev: "flannel.1", Onlink: true})
		}, "ip route replace 10.9.0.0/24 via 10.9.0.0 dev flannel.1 onlink"},
		{"neigh", func() error {
			return b.Neigh(ctx, link.Neigh{IP: netip.MustParseAddr("10.9.0.0"), MAC: "0a:58:0a:09:00:00", Dev: "flannel.1"})
		}, "ip neigh replace 10.9.0.0 lladdr 0a:58:0a:09:00:00 dev flannel.1 nud permanent"},
		{"fdb", func() error {
			return b.FDB(ctx, link.FDB{MAC: "0a:58:0a:09:00:00", Dst: netip.MustParseAddr("10.0.0.9"), Dev: "flannel.1"})
		}, "bridge fdb replace 0a:58:0a:09:00:00 dev flannel.1 dst 10.0.0.9 self permanent"},
		{"addr 6", func() error { return b.Addr(ctx, "eth0", p("fd00::1/64")) }, "ip addr add fd00::1/64 dev eth0 nodad"},
		{"route 6", func() error {
			return b.Route(ctx, link.Route{Dst: p("::/0"), Via: netip.MustParseAddr("fd00::fe"), Dev: "eth0"})
		}, "ip -6 route replace default via fd00::fe dev eth0"},
		{"onlink 6", func() error {
			return b.Route(ctx, link.Route{Dst: p("fd00:9::/64"), Via: netip.MustParseAddr("fd00:9::"), Dev: "flannel.1", Onlink: true})
		}, "ip -6 route replace fd00:9::/64 via fd00:9:: dev flannel.1 onlink"},
		{"neigh 6", func() error {
			return b.Neigh(ctx, link.Neigh{IP: netip.MustParseAddr("fd00:9::"), MAC: "0a:58:0a:09:00:00", Dev: "flannel.1"})
		}, "ip -6 neigh replace fd00:9:: lladdr 0a:58:0a:09:00:00 dev flannel.1 nud permanent"},
		{"no neigh 6", func() error {
			return b.DelNeigh(ctx, link.Neigh{IP: netip.MustParseAddr("fd00:9::"), MAC: "0a:58:0a:09:00:00", Dev: "flannel.1"})
		}, "ip -6 neigh del fd00:9:: dev flannel.1"},
		{"no route 6", func() error {
			return b.DelRoute(ctx, link.Route{Dst: p("::/0"), Via: netip.MustParseAddr("fd00::fe"), Dev: "eth0"})
		}, "ip -6 route del default via fd00::fe dev eth0"},
		{"no addr 6", func() error { return b.DelAddr(ctx, "eth0", p("fd00::1/64")) }, "ip addr del fd00::1/64 dev eth0"},
		{"sysctl", func() error { return b.Sysctl(ctx, link.Sysctl{"net.ipv4.ip_forward", "1"}) },
			"sysctl -w net.ipv4.ip_forward=1"},
		{"no fdb", func() error {
			return b.DelFDB(ctx, link.FDB{MAC: "0a:58:0a:09:00:00", Dst: netip.MustParseAddr("10.0.0.9"), Dev: "flannel.1"})
		}, "bridge fdb del 0a:58:0a:09:00:00 dev flannel.1 dst 10.0.0.9 self"},
		{"no neigh", func() error {
			return b.DelNeigh(ctx, link.Neigh{IP: netip.MustParseAddr("10.9.0.0"), MAC: "0a:58:0a:09:00:00", Dev: "flannel.1"})
		}, "ip neigh del 10.9.0.0 dev flannel.1"},
		{"no route", func() error { return b.DelRoute(ctx, link.Route{Dst: p("10.7.0.0/16"), Dev: "eth0"}) },
			"ip route del 10.7.0.0/16 dev eth0"},
		{"no addr", func() error { return b.DelAddr(ctx, "eth0", p("10.0.0.1/24")) }, "ip addr del 10.0.0.1/24 dev eth0"},
		{"down", func() error { return a.Down(ctx, "v0") }, "ip link set v0 down"},
		{"delete", func() error { return a.Delete(ctx, "v0") }, "ip link del v0"},
		{"no peer left", func() error { return b.Delete(ctx, "eth0") }, ""},
		{"no entry on a link that is gone", func() error {
			return b.DelNeigh(ctx, link.Neigh{IP: ip, MAC: mac.String(), Dev: "eth0"})
		}, ""},
	}
	for _, v := range verbs {
		require.NoError(t, v.do(), v.name)
		lines := r.Lines(t)
		if v.line == "" {
			require.Empty(t, lines, v.name)
		} else {
			require.Len(t, lines, 1, v.name)
			nsenter := strings.SplitN(lines[0], " ", 3)
			require.Equal(t, "nsenter", nsenter[0])
			require.Equal(t, v.line, nsenter[2])
		}
		require.NoError(t, v.do(), v.name+" again")
		require.Empty(t, r.Lines(t), v.name+" again changes nothing")
	}
}

// The trail is not a description: pasted into a shell it does the same.
func TestTheTrailIsTrue(t *testing.T) {
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs ip(8)")
	}
	a, b := open(t, "a"), open(t, "b")
	ctx, r := nettest.WithTrail(context.Background())
	build := func() {
		ip := netip.MustParseAddr("10.0.0.1")
		require.NoError(t, a.Bridge(ctx, "br0", link.MACOf(ip), 1450))
		require.NoError(t, a.Up(ctx, "br0"))
		require.NoError(t, a.Addr(ctx, "br0", netip.MustParsePrefix("10.0.0.1/24")))
		require.NoError(t, a.Vxlan(ctx, link.Vxlan{Name: "x", VNI: 7, Port: 8472, Local: ip, Dev: "br0", MAC: link.MACOf(ip)}))
		require.NoError(t, a.Up(ctx, "x"))
		require.NoError(t, a.Route(ctx, link.Route{Dst: netip.MustParsePrefix("10.1.0.0/24"), Via: netip.MustParseAddr("10.1.0.0"), Dev: "x", Onlink: true}))
		require.NoError(t, a.Neigh(ctx, link.Neigh{IP: netip.MustParseAddr("10.1.0.0"), MAC: "0a:58:00:00:00:01", Dev: "x"}))
		require.NoError(t, a.FDB(ctx, link.FDB{MAC: "0a:58:00:00:00:01", Dst: netip.MustParseAddr("10.0.0.2"), Dev: "x"}))
		require.NoError(t, a.Sysctl(ctx, link.Sysctl{"net.ipv4.conf.all.rp_filter", "2"}, link.Sysctl{"net.ipv4.ip_forward", "1"}))
	}
	build()
	lines := r.Lines(t)
	require.Len(t, lines, 10)
	for _, line := range lines {
		out, err := exec.Command("sh", "-c", strings.ReplaceAll(line, a.Path(), b.Path())).CombinedOutput()
		require.NoError(t, err, "%s: %s", line, out)
	}
	real := a
	a = b
	build()
	require.Empty(t, r.Lines(t), "the commands left nothing to do")
	a = real
}

func TestErrorsBeginWithTheCommand(t *testing.T) {
	a := open(t, "a")
	ctx := context.Background()
	require.ErrorContains(t, a.Up(ctx, "none"), "ip link set none up: ")
	require.ErrorIs(t, a.Sysctl(ctx, link.Sysctl{"net.ipv4.nonsense", "1"}), link.ErrNoSysctl)
	require.ErrorContains(t, a.Sysctl(ctx, link.Sysctl{"kernel.panic", "1"}), "whole machine")
	_, err := link.Open("/nowhere", link.By{})
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestVethWithoutItsPeerIsReplaced(t *testing.T) {
	a, b, c := open(t, "a"), open(t, "b"), open(t, "c")
	ctx := context.Background()
	require.NoError(t, a.Veth(ctx, link.Veth{Name: "v0", PeerName: "eth0", Peer: b}))
	require.NoError(t, a.Veth(ctx, link.Veth{Name: "v0", PeerName: "eth0", Peer: c}))
	_, ok, err := c.Link("eth0")
	require.NoError(t, err)
	require.True(t, ok)
	_, ok, err = b.Link("eth0")
	require.NoError(t, err)
	require.False(t, ok)
}
