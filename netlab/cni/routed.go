package cni

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/klab-project/klab/netlab/link"
)

// Routed is the plugin "routed": a pair of links between the pod and the node,
// and no bridge, as Calico has it. The pod has an address of 32 bits and sends
// everything to 169.254.1.1, which nobody has: the node answers for it
// (proxy ARP) and routes each packet. The node has a route for each pod.
type Routed struct {
	NetNS string // the node's; empty: the process's own
	By    link.By
}

type routedConfig struct {
	netConf
	MTU  int        `json:"mtu"`
	IPAM types.IPAM `json:"ipam"`
}

// routedGateway is what pods believe to be their router.
var routedGateway = netip.MustParseAddr("169.254.1.1")

// routedMAC is the hardware address of the node's end of each pair.
var routedMAC = net.HardwareAddr{0xee, 0xee, 0xee, 0xee, 0xee, 0xee}

// bridgeBeside is the bridge of pods that were attached by the plugin bridge:
// they take the whole subnet of the node for one wire.
const bridgeBeside = "cni0"

func (r *Routed) config(c Call) (*routedConfig, Plugin, error) {
	conf := &routedConfig{}
	if err := decode(c, conf); err != nil {
		return nil, nil, err
	}
	if conf.IPAM.Type == "" {
		return nil, nil, types.NewError(types.ErrInvalidNetworkConfig, "routed: the configuration has no ipam.type", "")
	}
	ipam, err := c.delegate(conf.IPAM.Type)
	return conf, ipam, err
}

// routedAddress is the one address of an attachment, with all of its bits.
func routedAddress(r *Result) (netip.Prefix, error) {
	list, err := addressesOf(r)
	if err != nil {
		return netip.Prefix{}, err
	}
	a, ok := v4(list)
	if !ok || len(list) != 1 {
		return netip.Prefix{}, types.NewError(types.ErrInvalidNetworkConfig, "routed: want one IPv4 address from IPAM", "a routed pod has one address")
	}
	return netip.PrefixFrom(a.IP.Addr(), a.IP.Addr().BitLen()), nil
}

// Add implements [Plugin]. An address that IPAM gave stays the attachment's
// until DEL, also if what follows fails: the caller then calls DEL.
func (r *Routed) Add(ctx context.Context, c Call) (*Result, error) {
	conf, ipam, err := r.config(c)
	if err != nil {
		return nil, err
	}
	node, pod, closes, err := c.ends(r.NetNS, r.By)
	if err != nil {
		return nil, err
	}
	defer closes()
	result, err := ipam.Add(ctx, c)
	if err != nil {
		return nil, err
	}
	ip, err := routedAddress(result)
	if err != nil {
		return nil, err
	}
	if err := r.connect(ctx, node, pod, c, conf, ip); err != nil {
		return nil, err
	}
	if err := Neighbourly(ctx, node); err != nil {
		return nil, err
	}
	return conf.result(c, result, ip), nil
}

// result is what ADD answers: both ends of the pair, and whose address it is.
func (conf *routedConfig) result(c Call, r *Result, ip netip.Prefix) *Result {
	r.Interfaces = []*types100.Interface{
		{Name: routedLink(c.ContainerID, c.IfName), Mac: routedMAC.String(), Mtu: conf.MTU},
		{Name: c.IfName, Mac: link.MACOf(ip.Addr()).String(), Mtu: conf.MTU, Sandbox: c.NetNS},
	}
	address, _ := types.ParseCIDR(ip.String())
	all, _ := types.ParseCIDR("0.0.0.0/0")
	r.IPs[0].Interface, r.IPs[0].Address, r.IPs[0].Gateway = types100.Int(1), *address, routedGateway.AsSlice()
	r.Routes = append(r.Routes, &types.Route{Dst: *all, GW: routedGateway.AsSlice()})
	return r
}

// connect makes the pair of links, and the routes at both ends.
func (r *Routed) connect(ctx context.Context, node, pod *link.Net, c Call, conf *routedConfig, ip netip.Prefix) error {
	if err := noV6(ctx, pod, nil); err != nil {
		return err
	}
	host := routedLink(c.ContainerID, c.IfName)
	if err := node.Veth(ctx, link.Veth{
		Name: host, MAC: routedMAC, PeerName: c.IfName, PeerMAC: link.MACOf(ip.Addr()), MTU: conf.MTU, Peer: pod,
	}); err != nil {
		return err
	}
	if err := node.Alias(ctx, host, cmp.Or(podOf(c), c.ContainerID)); err != nil {
		return err
	}
	if err := node.Sysctl(ctx,
		link.Sysctl{Key: "net.ipv4.ip_forward", Value: "1"},
		link.Sysctl{Key: "net.ipv4.conf." + host + ".proxy_arp", Value: "1"},
		link.Sysctl{Key: "net.ipv4.neigh." + host + ".proxy_delay", Value: "0"},
	); err != nil {
		return err
	}
	all := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	gateway := netip.PrefixFrom(routedGateway, 32)
	for _, do := range []func() error{
		func() error { return node.Up(ctx, host) },
		func() error { return node.Route(ctx, link.Route{Dst: ip, Dev: host}) },
		func() error { return pod.Addr(ctx, c.IfName, ip) },
		func() error { return pod.Up(ctx, c.IfName) },
		func() error { return pod.Route(ctx, link.Route{Dst: gateway, Dev: c.IfName}) },
		func() error { return pod.Route(ctx, link.Route{Dst: all, Via: routedGateway, Dev: c.IfName}) },
	} {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}

// Neighbourly lets pods that are attached to a bridge reach those of the same
// node that are routed: on the bridge the node answers for the latter. Nothing
// is done where there is no bridge.
func Neighbourly(ctx context.Context, node *link.Net) error {
	_, there, err := node.Link(bridgeBeside)
	if err != nil || !there {
		return err
	}
	return node.Sysctl(ctx,
		link.Sysctl{Key: "net.ipv4.conf." + bridgeBeside + ".proxy_arp", Value: "1"},
		link.Sysctl{Key: "net.ipv4.neigh." + bridgeBeside + ".proxy_delay", Value: "0"})
}

// Del removes the links first: an address is free when nobody has it any more.
// The routes go with the links.
func (r *Routed) Del(ctx context.Context, c Call) error {
	_, ipam, err := r.config(c)
	if err != nil {
		return err
	}
	if err := c.unpair(ctx, r.NetNS, routedLink(c.ContainerID, c.IfName), r.By); err != nil {
		return err
	}
	return ipam.Del(ctx, c)
}

// Check implements [Plugin].
func (r *Routed) Check(ctx context.Context, c Call) error {
	conf, ipam, err := r.config(c)
	if err != nil {
		return err
	}
	prev, err := conf.checked(ctx, c, ipam)
	if err != nil {
		return err
	}
	ip, err := routedAddress(prev)
	if err != nil {
		return err
	}
	node, pod, closes, err := c.ends(r.NetNS, r.By)
	if err != nil {
		return err
	}
	defer closes()
	host := routedLink(c.ContainerID, c.IfName)
	return errors.Join(
		look(node, host, "is up and no port of a bridge", func(l link.Link) bool { return l.Up && l.Master == "" }),
		look(pod, c.IfName, "is up and has "+ip.String(), func(l link.Link) bool { return l.Up && slices.Contains(l.Addrs, ip) }),
		leads(node, host, ip))
}

// leads says that a node lacks a pod's route.
func leads(node *link.Net, host string, ip netip.Prefix) error {
	routes, err := node.Routes(host)
	if err == nil && !slices.Contains(routes, link.Route{Dst: ip, Dev: host}) {
		err = fmt.Errorf("it is not so that the node has a route to %s through %s", ip, host)
	}
	return err
}

// Status implements [Plugin]: it can do what its configuration says if the
// plugin that it delegates to can.
func (r *Routed) Status(ctx context.Context, c Call) error {
	_, ipam, err := r.config(c)
	if err != nil {
		return err
	}
	return ipam.Status(ctx, c)
}

// GC removes the pairs of links of attachments that are gone.
func (r *Routed) GC(ctx context.Context, c Call) error {
	conf, ipam, err := r.config(c)
	if err != nil {
		return err
	}
	err = conf.sweep(ctx, r.NetNS, r.By, routedLink, func(l link.Link) bool { return strings.HasPrefix(l.Name, "cali") })
	if err != nil {
		return err
	}
	return ipam.GC(ctx, c)
}

// routedLink is the name of the node's end, as Calico names them.
func routedLink(id, ifName string) string {
	sum := sha256.Sum256([]byte(id + "/" + ifName))
	return "cali" + hex.EncodeToString(sum[:4])
}
