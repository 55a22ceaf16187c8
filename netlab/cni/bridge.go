package cni

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/klab-project/klab/netlab/firewall"
	"github.com/klab-project/klab/netlab/link"
)

// Bridge is the plugin "bridge": a pair of links between the pod and a bridge
// of the node, which is the pod's gateway.
// Source: https://github.com/containernetworking/plugins/tree/main/plugins/main/bridge
type Bridge struct {
	NetNS string // the node's; empty: the process's own
	By    link.By
}

type bridgeConfig struct {
	netConf
	Bridge           string     `json:"bridge"`
	IsGateway        bool       `json:"isGateway"`
	IsDefaultGateway bool       `json:"isDefaultGateway"`
	ForceAddress     bool       `json:"forceAddress"`
	HairpinMode      bool       `json:"hairpinMode"`
	PromiscMode      bool       `json:"promiscMode"`
	IPMasq           bool       `json:"ipMasq"`
	VLAN             int        `json:"vlan"`
	VLANTrunk        []any      `json:"vlanTrunk"`
	MTU              int        `json:"mtu"`
	DNS              types.DNS  `json:"dns"`
	IPAM             types.IPAM `json:"ipam"`
	Runtime          macConfig  `json:"runtimeConfig"`
	Args             struct {
		CNI macConfig `json:"cni"`
	} `json:"args"`

	mac net.HardwareAddr // that the pod's link is to have
}

type macConfig struct {
	MAC string `json:"mac"`
}

func (b *Bridge) config(c Call) (*bridgeConfig, Plugin, error) {
	conf := &bridgeConfig{Bridge: "cni0"}
	if err := decode(c, conf); err != nil {
		return nil, nil, err
	}
	conf.IsGateway = conf.IsGateway || conf.IsDefaultGateway
	switch {
	case conf.VLAN != 0 || len(conf.VLANTrunk) > 0:
		return nil, nil, types.NewError(types.ErrUnsupportedField, fmt.Sprintf("bridge: vlan %d is not supported", conf.VLAN),
			"klab's bridge does not filter VLANs; leave vlan and vlanTrunk out, or put another bridge plugin in its place")
	case conf.HairpinMode && conf.PromiscMode:
		return nil, nil, types.NewError(types.ErrInvalidNetworkConfig, "cannot set hairpin mode and promiscuous mode at the same time", "")
	case conf.IPAM.Type == "":
		return nil, nil, types.NewError(types.ErrInvalidNetworkConfig, "bridge: the configuration has no ipam.type", "")
	}
	if text := cmp.Or(conf.Runtime.MAC, conf.Args.CNI.MAC, c.Arg("MAC")); text != "" {
		var err error
		if conf.mac, err = net.ParseMAC(text); err != nil {
			return nil, nil, types.NewError(types.ErrInvalidNetworkConfig, "bridge: "+err.Error(), "")
		}
	}
	ipam, err := c.delegate(conf.IPAM.Type)
	return conf, ipam, err
}

// promiscuous refuses promiscMode, for pods that use the bridge from now on. A
// bridge that takes in all frames also hands those to the node's own IP that it
// has just readdressed to the pod they came from, and the node routes them back:
// that is how promiscMode gave hairpin. Since Linux 6.9, and in its stable kin,
// such a packet loses its connection on the way up (br_nf_local_in of
// net/bridge/br_netfilter_hooks.c), so that no rule masquerades it: the pod gets a
// packet from its own address, and drops it.
func (conf *bridgeConfig) promiscuous() error {
	if !conf.PromiscMode {
		return nil
	}
	return types.NewError(types.ErrUnsupportedField, "bridge: promiscMode gives no hairpin any more: set hairpinMode instead",
		"Linux 6.9, and the stable kernels of 2024 and later, forget the connection of a packet that a promiscuous bridge takes in: nobody masquerades it, and a pod that asks its own Service drops what seems to come from itself")
}

// Add implements [Plugin]. An address that IPAM gave stays the attachment's
// until DEL, also if what follows fails: the caller then calls DEL.
func (b *Bridge) Add(ctx context.Context, c Call) (*Result, error) {
	conf, ipam, err := b.config(c)
	if err == nil {
		err = conf.promiscuous()
	}
	if err != nil {
		return nil, err
	}
	node, pod, closes, err := c.ends(b.NetNS, b.By)
	if err != nil {
		return nil, err
	}
	defer closes()
	result, err := ipam.Add(ctx, c)
	if err != nil {
		return nil, err
	}
	list, err := addressesOf(result)
	if err != nil {
		return nil, err
	}
	if conf.mac == nil {
		conf.mac = macOf(list)
	}
	own, err := b.bridge(ctx, node, conf, list)
	if err != nil {
		return nil, err
	}
	if err := b.connect(ctx, node, pod, c, conf, list); err != nil {
		return nil, err
	}
	if conf.IsDefaultGateway {
		defaultRoutes(result, list)
	}
	if err := furnish(ctx, pod, c.IfName, list, result); err != nil {
		return nil, err
	}
	return conf.result(c, result, own), nil
}

// result is what ADD answers: the bridge, both ends of the pair, and whose
// addresses they are.
func (conf *bridgeConfig) result(c Call, r *Result, own net.HardwareAddr) *Result {
	r.Interfaces = []*types100.Interface{
		{Name: conf.Bridge, Mac: own.String()},
		{Name: hostLink(c.ContainerID, c.IfName), Mtu: conf.MTU},
		{Name: c.IfName, Mac: conf.mac.String(), Mtu: conf.MTU, Sandbox: c.NetNS},
	}
	for _, ip := range r.IPs {
		ip.Interface = types100.Int(2)
	}
	if !conf.DNS.IsEmpty() {
		r.DNS = conf.DNS
	}
	return r
}

// bridge makes sure of the node's side, which all its pods share, and returns
// its hardware address.
func (b *Bridge) bridge(ctx context.Context, node *link.Net, conf *bridgeConfig, list []address) (net.HardwareAddr, error) {
	var own net.HardwareAddr
	if a, ok := v4(list); ok {
		own = link.MACOf(a.Gateway)
	}
	if err := node.Bridge(ctx, conf.Bridge, own, conf.MTU); err != nil {
		return nil, err
	}
	if conf.IsGateway {
		if err := b.gateways(ctx, node, conf, list); err != nil {
			return nil, err
		}
	}
	if conf.IPMasq {
		for _, a := range list {
			if !a.IP.Addr().Is4() {
				continue
			}
			if err := masquerade(ctx, node, conf.Name, a.IP.Masked()); err != nil {
				return nil, err
			}
		}
	}
	return own, node.Up(ctx, conf.Bridge)
}

// gateways gives the bridge the addresses that pods send through.
func (b *Bridge) gateways(ctx context.Context, node *link.Net, conf *bridgeConfig, list []address) error {
	wanted := map[netip.Prefix]bool{}
	for _, a := range list {
		wanted[netip.PrefixFrom(a.Gateway, a.IP.Bits())] = true
	}
	for _, a := range list {
		gw := netip.PrefixFrom(a.Gateway, a.IP.Bits())
		has, err := node.HasAddr(conf.Bridge, gw)
		if err != nil {
			return err
		}
		if !has {
			if err := b.room(ctx, node, conf, gw, wanted); err != nil {
				return err
			}
			if err := node.Addr(ctx, conf.Bridge, gw); err != nil {
				return err
			}
			if err := besideRouted(ctx, node, conf.Bridge); err != nil {
				return err
			}
		}
		key := "net.ipv4.ip_forward"
		if !gw.Addr().Is4() {
			key = "net.ipv6.conf.all.forwarding"
		}
		if err := node.Sysctl(ctx, link.Sysctl{Key: key, Value: "1"}); err != nil {
			return err
		}
	}
	return nil
}

// room refuses a subnet of which the node has an address elsewhere: packets for
// one of the two would go to the other. An address that the bridge has of an
// earlier configuration gives way to forceAddress.
func (b *Bridge) room(ctx context.Context, node *link.Net, conf *bridgeConfig, gw netip.Prefix, wanted map[netip.Prefix]bool) error {
	links, err := node.Links()
	if err != nil {
		return err
	}
	for _, l := range links {
		for _, p := range l.Addrs {
			switch {
			case p.Addr().IsLinkLocalUnicast(), l.Name == conf.Bridge && wanted[p], l.Name == conf.Bridge && !gw.Addr().Is4() && !p.Overlaps(gw.Masked()):
			case l.Name == conf.Bridge && p.Addr().Is4() == gw.Addr().Is4():
				if !conf.ForceAddress {
					return fmt.Errorf("%q already has an IP address different from %v: %v; remove it, or set forceAddress", conf.Bridge, gw, p)
				}
				if err := node.DelAddr(ctx, conf.Bridge, p); err != nil {
					return err
				}
			case p.Bits() > 0 && p.Bits() < p.Addr().BitLen() && p.Masked().Overlaps(gw.Masked()):
				return types.NewError(types.ErrInvalidNetworkConfig, fmt.Sprintf("bridge: the subnet %v overlaps with %v of %s: choose another", gw.Masked(), p.Masked(), l.Name), "")
			}
		}
	}
	return nil
}

// masquerade lets packets of a network that leave it have the node's address.
func masquerade(ctx context.Context, node *link.Net, network string, subnet netip.Prefix) error {
	tool, err := firewall.Detect(ctx)
	if err != nil {
		return err
	}
	return tool.Apply(ctx, node, firewall.Masquerade(network, subnet))
}

// connect makes the pair of links and plugs the node's end into the bridge.
func (b *Bridge) connect(ctx context.Context, node, pod *link.Net, c Call, conf *bridgeConfig, list []address) error {
	if err := noV6(ctx, pod, list); err != nil {
		return err
	}
	host := hostLink(c.ContainerID, c.IfName)
	if err := node.Veth(ctx, link.Veth{Name: host, PeerName: c.IfName, PeerMAC: conf.mac, MTU: conf.MTU, Peer: pod}); err != nil {
		return err
	}
	if err := node.Alias(ctx, host, cmp.Or(podOf(c), c.ContainerID)); err != nil {
		return err
	}
	if err := node.Master(ctx, host, conf.Bridge); err != nil {
		return err
	}
	if err := node.Hairpin(ctx, host, conf.HairpinMode); err != nil {
		return err
	}
	return node.Up(ctx, host)
}
