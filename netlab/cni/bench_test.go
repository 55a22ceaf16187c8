package cni_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/klab-project/klab/netlab/cni"
	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/nettest"
)

// ADD of klab's own conflist, loopback, bridge, host-local and portmap: as the
// agent calls them, as programs of klab, and as Debian's programs. The floor is
// what the kernel takes for the same links, addresses and routes.
// Pods are all made before the first is attached, and removed after the last:
// the kernel takes namespaces apart in the background, in everybody's way.
func BenchmarkAdd(b *testing.B) {
	b.Run("floor", func(b *testing.B) {
		ns := nettest.Namespace(b, "node")
		node := nettest.Open(b, ns)
		gw := netip.MustParsePrefix("10.244.1.1/24")
		require.NoError(b, node.Bridge(context.Background(), "cni0", link.MACOf(gw.Addr()), 1450))
		require.NoError(b, node.Up(context.Background(), "cni0"))
		n := 0 // links of pods that are gone may be there for a while
		measure(b, func(p cni.PodNet) { n++; require.NoError(b, bare(ns, p.NetNS, n)) }, func(cni.PodNet) {})
	})
	for _, name := range []string{"in-process", "klab-cni", "debian"} {
		b.Run(name, func(b *testing.B) {
			ctx := context.Background()
			n := newRealNode(b, "10.244.1.0/24")
			if name == "debian" {
				n.debian(b, "bridge", "host-local", "portmap", "loopback")
			}
			if name == "klab-cni" {
				n.bin.Own = nil
			}
			measure(b, func(p cni.PodNet) {
				_, err := n.Attach(ctx, p)
				require.NoError(b, err)
			}, func(p cni.PodNet) { require.NoError(b, n.Detach(ctx, p)) })
		})
	}
}

// measure reports the median and the 99th of a hundred.
func measure(b *testing.B, add, del func(p cni.PodNet)) {
	const pods = 30 // a node's
	var took []time.Duration
	for b.Loop() {
		b.StopTimer()
		var list []cni.PodNet
		for i := range pods {
			list = append(list, pod(b, fmt.Sprintf("p%d-%d", len(took), i)))
		}
		b.StartTimer()
		for _, p := range list {
			start := time.Now()
			add(p)
			took = append(took, time.Since(start))
		}
		b.StopTimer()
		for _, p := range list {
			del(p)
			require.NoError(b, netns.Delete(p.NetNS))
		}
		b.StartTimer()
	}
	slices.Sort(took)
	at := func(share float64) float64 { return took[int(float64(len(took)-1)*share)].Seconds() * 1000 }
	b.ReportMetric(at(0.5), "p50-ms/ADD")
	b.ReportMetric(at(0.99), "p99-ms/ADD")
	b.ReportMetric(0, "ns/op")
}

// bare is what the kernel has to do for a pod, and nothing else.
func bare(node, pod string, i int) error {
	return netns.Do(node, func() error {
		nsfs, err := netns.Open(pod)
		if err != nil {
			return err
		}
		defer nsfs.Close()
		pair := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "eth0", PeerNamespace: netlink.NsFd(int(nsfs.Fd())), PeerMTU: 1450}
		pair.Name, pair.MTU = fmt.Sprintf("bare%d", i), 1450
		bridge, err := netlink.LinkByName("cni0")
		if err != nil {
			return err
		}
		if err := netlink.LinkAdd(pair); err != nil {
			return err
		}
		for _, change := range []func() error{
			func() error { return netlink.LinkSetMaster(pair, bridge) },
			func() error { return netlink.LinkSetHairpin(pair, true) },
			func() error { return netlink.LinkSetUp(pair) },
		} {
			if err := change(); err != nil {
				return err
			}
		}
		return netns.DoFile(nsfs, func() error {
			lo, err := netlink.LinkByName("lo")
			if err != nil {
				return err
			}
			eth0, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			addr, err := netlink.ParseAddr(fmt.Sprintf("10.244.1.%d/24", i+2))
			if err != nil {
				return err
			}
			gw := netip.MustParseAddr("10.244.1.1").AsSlice()
			for _, change := range []func() error{
				func() error { return netlink.LinkSetUp(lo) },
				func() error { return netlink.AddrAdd(eth0, addr) },
				func() error { return netlink.LinkSetUp(eth0) },
				func() error { return netlink.RouteAdd(&netlink.Route{LinkIndex: eth0.Attrs().Index, Gw: gw}) },
			} {
				if err := change(); err != nil {
					return err
				}
			}
			return nil
		})
	})
}
