package cni

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/klab-project/klab/netlab/firewall"
	"github.com/klab-project/klab/netlab/link"
)

// Bridge is the plugin "bridge": a pair of links between the pod and a bridge
// of the node, which is the pod's gateway.
type Bridge struct {
	NetNS string // the node's; empty: the process's own
	By    link.By
	IPAM  Plugins
}

type bridgeConfig struct {
	Name             string     `json:"name"`
	Bridge           string     `json:"bridge"`
	IsGateway        bool       `json:"isGateway"`
	IsDefaultGateway bool       `json:"isDefaultGateway"`
	HairpinMode      bool       `json:"hairpinMode"`
	IPMasq           bool       `json:"ipMasq"`
	VLAN             int        `json:"vlan"`
	MTU              int        `json:"mtu"`
	IPAM             types.IPAM `json:"ipam"`
	PrevResult       *Result    `json:"prevResult"`
}

func (b *Bridge) config(c Call) (*bridgeConfig, Plugin, error) {
	conf := &bridgeConfig{Bridge: "cni0"}
	if err := decode(c, conf); err != nil {
		return nil, nil, err
	}
	if conf.VLAN != 0 {
		return nil, nil, types.NewError(types.ErrUnsupportedField, "bridge: vlan is not supported", "")
	}
	if conf.IPAM.Type == "" {
		return nil, nil, types.NewError(types.ErrInvalidNetworkConfig, "bridge: the configuration has no ipam.type", "")
	}
	ipam, err := b.IPAM.find(conf.IPAM.Type)
	return conf, ipam, err
}

func (b *Bridge) Add(ctx context.Context, c Call) (*Result, error) {
	conf, ipam, err := b.config(c)
	if err != nil {
		return nil, err
	}
	node, err := link.Open(b.NetNS, b.By)
	if err != nil {
		return nil, err
	}
	defer node.Close()
	pod, err := c.pod(b.By)
	if err != nil {
		return nil, err
	}
	defer pod.Close()

	result, err := ipam.Add(ctx, c)
	if err != nil {
		return nil, err
	}
	a, err := first(result)
	if err != nil {
		return nil, err
	}
	if err := b.bridge(ctx, node, conf, a); err != nil {
		return nil, err
	}
	if err := b.connect(ctx, node, pod, c, conf, a); err != nil {
		return nil, err
	}
	if err := b.address(ctx, pod, c, conf, a); err != nil {
		return nil, err
	}

	mac := link.MACOf(a.IP.Addr()).String()
	result.Interfaces = []*types100.Interface{
		{Name: conf.Bridge, Mac: link.MACOf(a.Gateway).String()},
		{Name: hostLink(c), Mtu: conf.MTU},
		{Name: c.IfName, Mac: mac, Mtu: conf.MTU, Sandbox: c.NetNS},
	}
	result.IPs[0].Interface = types100.Int(2)
	if conf.IsDefaultGateway {
		everywhere, _ := types.ParseCIDR("0.0.0.0/0")
		result.Routes = append(result.Routes, &types.Route{Dst: *everywhere, GW: result.IPs[0].Gateway})
	}
	return result, nil
}

// addresses of one attachment.
type addresses struct {
	IP      netip.Prefix
	Gateway netip.Addr
}

func first(r *Result) (a addresses, err error) {
	if len(r.IPs) != 1 {
		return a, fmt.Errorf("bridge: want one address from IPAM, got %d", len(r.IPs))
	}
	ip, ok := netip.AddrFromSlice(r.IPs[0].Address.IP)
	gw, okGW := netip.AddrFromSlice(r.IPs[0].Gateway)
	ones, _ := r.IPs[0].Address.Mask.Size()
	a = addresses{IP: netip.PrefixFrom(ip.Unmap(), ones), Gateway: gw.Unmap()}
	if !ok || !okGW || !a.IP.Addr().Is4() || !a.Gateway.Is4() {
		return a, fmt.Errorf("bridge: want an IPv4 address and gateway from IPAM, got %v", r.IPs[0])
	}
	return a, nil
}

// bridge makes sure of the node's side, which all its pods share.
func (b *Bridge) bridge(ctx context.Context, node *link.Net, conf *bridgeConfig, a addresses) error {
	if err := node.Bridge(ctx, conf.Bridge, link.MACOf(a.Gateway), conf.MTU); err != nil {
		return err
	}
	if conf.IsGateway || conf.IsDefaultGateway {
		if err := node.Addr(ctx, conf.Bridge, netip.PrefixFrom(a.Gateway, a.IP.Bits())); err != nil {
			return err
		}
		if err := node.Sysctl(ctx, link.Sysctl{Key: "net.ipv4.ip_forward", Value: "1"}); err != nil {
			return err
		}
	}
	if conf.IPMasq {
		if err := masquerade(ctx, node, conf.Name, a.IP.Masked()); err != nil {
			return err
		}
	}
	return node.Up(ctx, conf.Bridge)
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
func (b *Bridge) connect(ctx context.Context, node, pod *link.Net, c Call, conf *bridgeConfig, a addresses) error {
	err := pod.Sysctl(ctx, link.Sysctl{Key: "net.ipv6.conf.default.disable_ipv6", Value: "1"})
	if err != nil && !errors.Is(err, link.ErrNoSysctl) {
		return err
	}
	host := hostLink(c)
	if err := node.Veth(ctx, link.Veth{
		Name: host, PeerName: c.IfName, PeerMAC: link.MACOf(a.IP.Addr()), MTU: conf.MTU, Peer: pod,
	}); err != nil {
		return err
	}
	if ns, name := c.Pod(); name != "" {
		if err := node.Alias(ctx, host, ns+"/"+name); err != nil {
			return err
		}
	}
	if err := node.Master(ctx, host, conf.Bridge); err != nil {
		return err
	}
	if err := node.Hairpin(ctx, host, conf.HairpinMode); err != nil {
		return err
	}
	return node.Up(ctx, host)
}

func (b *Bridge) address(ctx context.Context, pod *link.Net, c Call, conf *bridgeConfig, a addresses) error {
	if err := pod.Addr(ctx, c.IfName, a.IP); err != nil {
		return err
	}
	if err := pod.Up(ctx, c.IfName); err != nil {
		return err
	}
	if !conf.IsDefaultGateway {
		return nil
	}
	return pod.Route(ctx, link.Route{Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Via: a.Gateway, Dev: c.IfName})
}

// Del removes the links first: an address is free when nobody has it any more.
func (b *Bridge) Del(ctx context.Context, c Call) error {
	_, ipam, err := b.config(c)
	if err != nil {
		return err
	}
	node, err := link.Open(b.NetNS, b.By)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err == nil {
		defer node.Close()
		if err := node.Delete(ctx, hostLink(c)); err != nil {
			return err
		}
	}
	return ipam.Del(ctx, c)
}

func (b *Bridge) Check(ctx context.Context, c Call) error {
	conf, ipam, err := b.config(c)
	if err != nil {
		return err
	}
	if err := ipam.Check(ctx, c); err != nil {
		return err
	}
	if conf.PrevResult == nil {
		return types.NewError(types.ErrInvalidNetworkConfig, "bridge: CHECK needs the result of ADD", "")
	}
	a, err := first(conf.PrevResult)
	if err != nil {
		return err
	}
	return errors.Join(
		look(func() (*link.Net, error) { return link.Open(b.NetNS, b.By) }, hostLink(c), func(l link.Link) bool { return l.Up && l.Master == conf.Bridge },
			"is up and a port of "+conf.Bridge),
		look(func() (*link.Net, error) { return c.pod(b.By) }, c.IfName, func(l link.Link) bool { return l.Up && len(l.Addrs) > 0 && l.Addrs[0] == a.IP },
			"is up and has "+a.IP.String()))
}

func look(open func() (*link.Net, error), name string, good func(link.Link) bool, want string) error {
	n, err := open()
	if err != nil {
		return err
	}
	defer n.Close()
	l, ok, err := n.Link(name)
	if err == nil && (!ok || !good(l)) {
		err = fmt.Errorf("it is not so that %s %s", name, want)
	}
	return err
}
