package proxy_test

import (
	"context"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/labtest"
	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/proxy"
)

var node6 = proxy.Node{
	Name: node.Name, Zone: node.Zone, IP: toSix(node.IP), Pods: prefixToSix(node.Pods),
	Services: []netip.Prefix{netip.MustParsePrefix("fd00:10:96::/112")},
}

// toSix is an address of IPv6 that ends like one of IPv4.
func toSix(a netip.Addr) netip.Addr {
	b := netip.MustParseAddr("fd00::").As16()
	copy(b[12:], a.AsSlice())
	return netip.AddrFrom16(b)
}

func prefixToSix(p netip.Prefix) netip.Prefix { return netip.PrefixFrom(toSix(p.Addr()), p.Bits()+96) }

// inSix is a State with addresses of IPv6 in the place of those of IPv4.
func inSix(s proxy.State) proxy.State {
	for i := range s.Services {
		svc := &s.Services[i]
		svc.ClusterIP = toSix(svc.ClusterIP)
		for _, list := range [][]netip.Addr{svc.ExternalIPs, svc.LoadBalancerIPs} {
			for j := range list {
				list[j] = toSix(list[j])
			}
		}
		for j := range svc.SourceRanges {
			svc.SourceRanges[j] = prefixToSix(svc.SourceRanges[j])
		}
	}
	for _, slice := range s.Slices {
		for j := range slice.Endpoints {
			slice.Endpoints[j].IP = toSix(slice.Endpoints[j].IP)
		}
	}
	return s
}

// web6 is web with addresses of IPv6.
func web6() proxy.Service {
	s := web()
	s.ClusterIP, s.ExternalIPs, s.LoadBalancerIPs = netip.MustParseAddr("fd00:10:96::10"), ips("2001:db8:192::50"), ips("2001:db8:192::51")
	return s
}

func (l *lab) behind6(pods ...string) proxy.Slice { return endpoints(l.ip6, pods) }

func (l *lab) sync6(t *testing.T, s proxy.State) {
	t.Helper()
	for _, p := range l.six {
		require.NoError(t, p.Sync(context.Background(), s))
	}
}

// What is so of packets of IPv4 is so of those of IPv6, on a node that leads
// both.
func TestPacketsOfIPv6(t *testing.T) {
	for _, v := range variants(t) {
		v.run(t, func(t *testing.T) {
			l := buildWith(t, v, labtest.Config{DualStack: true})
			one, two := l.six[0].Node.IP.String(), l.six[1].Node.IP.String()
			for _, addr := range []string{"2001:db8:192::50", "2001:db8:192::51"} {
				nettest.Run(t, l.GatewayNS(), "ip route add "+addr+" via "+one)
				nettest.Run(t, l.OutsideNS(), "ip route add "+addr+" via 2001:db8:192::1")
			}
			l.sync(t, state(web(), l.behind("a")))
			local := web6()
			local.ExternalLocal = true
			const cluster = "[fd00:10:96::10]:80"
			bridge, tunnel := "fd00:10:244:1::1", "fd00:10:244:1::"
			client, outside := l.ip6["client"].String(), "2001:db8:192::a"
			for _, c := range []struct {
				name, from, to string
				svc            proxy.Service
				at, seen       string // who answers, and whom it sees
			}{
				{"cluster IP, same node", l.ns["client"], cluster, web6(), "a", client},
				{"cluster IP, other node", l.ns["client"], cluster, web6(), "c", client},
				{"cluster IP, own hairpin: as its node", l.ns["a"], cluster, web6(), "a", bridge},
				{"node to cluster IP, same node", l.nodes[0], cluster, web6(), "a", bridge},
				{"node to cluster IP, other node", l.nodes[0], cluster, web6(), "c", tunnel},
				{"outside to node port, same node: as the node", l.OutsideNS(), "[" + one + "]:30080", web6(), "a", bridge},
				{"outside to node port, other node: as the node", l.OutsideNS(), "[" + one + "]:30080", web6(), "c", tunnel},
				{"outside to node port of the other node, Local", l.OutsideNS(), "[" + two + "]:30080", local, "c", outside},
				{"node to its own node port", l.nodes[0], "[" + one + "]:30080", web6(), "c", tunnel},
				{"outside to external IP", l.OutsideNS(), "[2001:db8:192::50]:80", web6(), "a", bridge},
				{"outside to load balancer, Local", l.OutsideNS(), "[2001:db8:192::51]:80", local, "a", outside},
			} {
				l.sync6(t, state(c.svc, l.behind6(c.at)))
				got, err := ask(c.from, c.to)
				require.NoError(t, err, c.name)
				require.Equal(t, []string{c.at, c.seen, l.ip6[c.at].String(), c.to},
					[]string{got.name, got.seen.String(), got.at.String(), got.from.String()}, c.name)
			}
			l.refused6(t)
			got, err := ask(l.ns["client"], "10.96.0.10:80")
			require.NoError(t, err, "the other family")
			require.Equal(t, "a", got.name)
		})
	}
}

// refused6: packets that have nowhere to go are answered, or lost.
func (l *lab) refused6(t *testing.T) {
	l.sync6(t, state(web6()))
	for _, from := range []string{l.ns["client"], l.nodes[0]} {
		_, err := ask(from, "[fd00:10:96::10]:80")
		require.ErrorContains(t, err, syscall.ECONNREFUSED.Error())
	}
	guarded := web6()
	guarded.SourceRanges = []netip.Prefix{netip.MustParsePrefix("2001:db8:77::/64")}
	l.sync6(t, state(guarded, l.behind6("a")))
	_, err := askFor(l.OutsideNS(), "[2001:db8:192::51]:80", time.Second)
	require.ErrorContains(t, err, "timeout", "not in the source ranges")
	guarded.SourceRanges = append(guarded.SourceRanges, netip.MustParsePrefix("2001:db8:192::/64"))
	l.sync6(t, state(guarded, l.behind6("a")))
	got, err := ask(l.OutsideNS(), "[2001:db8:192::51]:80")
	require.NoError(t, err)
	require.Equal(t, "a", got.name)
}

// What a mode has in the kernel for both families goes with the last of them:
// the first to change its mode takes nothing from the other one.
func TestFamiliesShareNothingButTheLink(t *testing.T) {
	for _, v := range variants(t) {
		v.run(t, func(t *testing.T) {
			l := buildWith(t, v, labtest.Config{DualStack: true})
			ctx, four, six := context.Background(), state(web(), l.behind("c")), state(web6(), l.behind6("c"))
			next := proxy.NFTables
			if v.mode == next {
				next = proxy.IPTables
			}
			answers := func(when string) {
				t.Helper()
				for _, to := range []string{"10.96.0.10:80", "[fd00:10:96::10]:80"} {
					for _, from := range []string{l.ns["client"], l.nodes[0]} {
						got, err := ask(from, to)
						require.NoError(t, err, "%s, %s", to, when)
						require.Equal(t, "c", got.name)
					}
				}
			}
			for round, order := range [][][]*proxy.Proxy{{l.proxies, l.six}, {l.six, l.proxies}} {
				l.sync(t, four)
				l.sync6(t, six)
				answers("in the first mode")
				for _, proxies := range order {
					for _, p := range proxies {
						require.NoError(t, p.SetMode(ctx, next))
						s := four
						if p.Node.IP.Is6() {
							s = six
						}
						require.NoError(t, p.Sync(ctx, s))
						for _, other := range append(l.proxies, l.six...) {
							intact, err := other.Intact(ctx)
							require.NoError(t, err)
							require.True(t, intact, "round %d, %s of %s", round, other.Mode(), other.Node.IP)
						}
					}
					answers("while one family has another mode")
				}
				l.only(t, next)
				require.Zero(t, strings.Count(nettest.Run(t, l.nodes[0], "ip6tables-nft-save"), "KUBE-IPVS"))
				for _, p := range append(l.proxies, l.six...) {
					require.NoError(t, p.SetMode(ctx, v.mode))
				}
			}
		})
	}
}
