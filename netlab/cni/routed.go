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
// (proxy ARP) and routes each packet. The node has a route for each pod. If IPAM
// gives an address of IPv6 too, the pod has it with all of its bits, and sends
// through the link-local address of the node's end.
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

// routedGateway6 is the same of IPv6: what the kernel makes of routedMAC.
var routedGateway6 = netip.MustParseAddr("fe80::ecee:eeff:feee:eeee")

// routedMAC is the hardware address of the node's end of each pair.
var routedMAC = net.HardwareAddr{0xee, 0xee, 0xee, 0xee, 0xee, 0xee}

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

// routedAddresses are those of an attachment, with all of their bits: one of
// IPv4, and perhaps one of IPv6 after it.
func routedAddresses(r *Result) ([]netip.Prefix, error) {
	list, err := addressesOf(r)
	if err != nil {
		return nil, err
	}
	var ips []netip.Prefix
	for _, a := range list {
		ips = append(ips, netip.PrefixFrom(a.IP.Addr(), a.IP.Addr().BitLen()))
	}
	if len(ips) > 2 || !ips[0].Addr().Is4() || len(ips) == 2 && !ips[1].Addr().Is6() {
		return nil, types.NewError(types.ErrInvalidNetworkConfig, fmt.Sprintf("routed: want one IPv4 address from IPAM, and one of IPv6 or none after it; got %v", ips),
			"a routed pod has one address of each family")
	}
	return ips, nil
}

// gatewayFor is what a pod with that address believes to be its router.
func gatewayFor(ip netip.Addr) netip.Addr {
	if ip.Is6() {
		return routedGateway6
	}
	return routedGateway
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
	ips, err := routedAddresses(result)
	if err != nil {
		return nil, err
	}
	if err := r.connect(ctx, node, pod, c, conf, ips); err != nil {
		return nil, err
	}
	there, err := answers(ctx, node)
	if err == nil && there && len(ips) > 1 {
		err = answersFor(ctx, node, ips[1].Addr())
	}
	if err != nil {
		return nil, err
	}
	return conf.result(c, result, ips), nil
}

// result is what ADD answers: both ends of the pair, and whose addresses they are.
func (conf *routedConfig) result(c Call, r *Result, ips []netip.Prefix) *Result {
	r.Interfaces = []*types100.Interface{
		{Name: routedLink(c.ContainerID, c.IfName), Mac: routedMAC.String(), Mtu: conf.MTU},
		{Name: c.IfName, Mac: link.MACOf(ips[0].Addr()).String(), Mtu: conf.MTU, Sandbox: c.NetNS},
	}
	for i, ip := range ips {
		gateway := gatewayFor(ip.Addr()).AsSlice()
		own, _ := types.ParseCIDR(ip.String())
		all, _ := types.ParseCIDR(everywhere(address{IP: ip}).String())
		r.IPs[i].Interface, r.IPs[i].Address, r.IPs[i].Gateway = types100.Int(1), *own, gateway
		r.Routes = append(r.Routes, &types.Route{Dst: *all, GW: gateway})
	}
	return r
}

// connect makes the pair of links, and the routes at both ends.
func (r *Routed) connect(ctx context.Context, node, pod *link.Net, c Call, conf *routedConfig, ips []netip.Prefix) error {
	var list []address
	for _, ip := range ips {
		list = append(list, address{IP: ip})
	}
	if err := noV6(ctx, pod, list); err != nil {
		return err
	}
	host := routedLink(c.ContainerID, c.IfName)
	if err := node.Veth(ctx, link.Veth{
		Name: host, MAC: routedMAC, PeerName: c.IfName, PeerMAC: link.MACOf(ips[0].Addr()), MTU: conf.MTU, Peer: pod,
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
	if err := errors.Join(node.Up(ctx, host), pod.Up(ctx, c.IfName)); err != nil {
		return err
	}
	for _, a := range list {
		if err := routes(ctx, node, pod, host, c.IfName, a); err != nil {
			return err
		}
	}
	return nil
}

// routes gives both ends of a pair what they need for one address of the pod.
func routes(ctx context.Context, node, pod *link.Net, host, name string, a address) error {
	gateway := gatewayFor(a.IP.Addr())
	first := func() error { // to the gateway there is a way
		return pod.Route(ctx, link.Route{Dst: netip.PrefixFrom(gateway, 32), Dev: name})
	}
	if gateway.Is6() {
		first = func() error {
			err := node.Sysctl(ctx, link.Sysctl{Key: "net.ipv6.conf.all.forwarding", Value: "1"})
			if err != nil {
				return err
			}
			return node.Addr(ctx, host, netip.PrefixFrom(gateway, 64))
		}
	}
	for _, do := range []func() error{
		func() error { return node.Route(ctx, link.Route{Dst: a.IP, Dev: host}) },
		func() error { return pod.Addr(ctx, name, a.IP) },
		first,
		func() error { return pod.Route(ctx, link.Route{Dst: everywhere(a), Via: gateway, Dev: name}) },
	} {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}

// Del removes the links first: an address is free when nobody has it any more.
// The routes go with the links, and then the node no longer answers for it.
func (r *Routed) Del(ctx context.Context, c Call) error {
	_, ipam, err := r.config(c)
	if err != nil {
		return err
	}
	if err := c.unpair(ctx, r.NetNS, routedLink(c.ContainerID, c.IfName), r.By); err != nil {
		return err
	}
	if err := r.neighbourly(ctx); err != nil {
		return err
	}
	return ipam.Del(ctx, c)
}

// neighbourly is [Neighbourly], on a node that may be gone.
func (r *Routed) neighbourly(ctx context.Context) error {
	node, err := link.Open(r.NetNS, r.By)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer node.Close()
	return Neighbourly(ctx, node)
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
	ips, err := routedAddresses(prev)
	if err != nil {
		return err
	}
	node, pod, closes, err := c.ends(r.NetNS, r.By)
	if err != nil {
		return err
	}
	defer closes()
	host := routedLink(c.ContainerID, c.IfName)
	errs := []error{look(node, host, "is up and no port of a bridge", func(l link.Link) bool { return l.Up && l.Master == "" })}
	for _, ip := range ips {
		errs = append(errs,
			look(pod, c.IfName, "is up and has "+ip.String(), func(l link.Link) bool { return l.Up && slices.Contains(l.Addrs, ip) }),
			leads(node, host, ip))
	}
	return errors.Join(errs...)
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
	err = conf.sweep(ctx, r.NetNS, r.By, routedLink, func(l link.Link) bool { return l.Kind == "veth" && strings.HasPrefix(l.Name, "cali") })
	if err == nil {
		err = r.neighbourly(ctx)
	}
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
