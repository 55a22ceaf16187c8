package cni

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/klab-project/klab/netlab/link"
)

// Child is the plugins "macvlan" and "ipvlan": the pod gets a link of its own
// on the wire of one of the node's, past the node's bridge and rules.
type Child struct {
	Kind  string // "macvlan" or "ipvlan"
	NetNS string // the node's; empty: the process's own
	By    link.By
	IPAM  Plugins
}

type childConfig struct {
	Master string     `json:"master"`
	Mode   string     `json:"mode"`
	IPAM   types.IPAM `json:"ipam"`
}

func (p *Child) config(c Call) (*childConfig, Plugin, error) {
	conf := &childConfig{Master: "eth0"}
	if err := decode(c, conf); err != nil {
		return nil, nil, err
	}
	only := map[string]string{"macvlan": "bridge", "ipvlan": "l2"}[p.Kind]
	if conf.Mode != "" && conf.Mode != only {
		return nil, nil, types.NewError(types.ErrUnsupportedField, fmt.Sprintf("%s: the only mode is %s", p.Kind, only), "")
	}
	ipam, err := p.IPAM.find(conf.IPAM.Type)
	return conf, ipam, err
}

func (p *Child) Add(ctx context.Context, c Call) (*Result, error) {
	conf, ipam, err := p.config(c)
	if err != nil {
		return nil, err
	}
	node, err := link.Open(p.NetNS, p.By)
	if err != nil {
		return nil, err
	}
	defer node.Close()
	pod, err := c.pod(p.By)
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
	child := link.Child{Kind: p.Kind, Name: c.IfName, Parent: conf.Master, Peer: pod}
	if p.Kind == "macvlan" {
		child.MAC = link.MACOf(a.IP.Addr())
	}
	err = pod.Sysctl(ctx, link.Sysctl{Key: "net.ipv6.conf.default.disable_ipv6", Value: "1"})
	if err != nil && !errors.Is(err, link.ErrNoSysctl) {
		return nil, err
	}
	if err := node.Child(ctx, child); err != nil {
		return nil, err
	}
	if err := pod.Addr(ctx, c.IfName, a.IP); err != nil {
		return nil, err
	}
	if err := pod.Up(ctx, c.IfName); err != nil {
		return nil, err
	}
	everywhere := link.Route{Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Via: a.Gateway, Dev: c.IfName}
	if err := pod.Route(ctx, everywhere); err != nil {
		return nil, err
	}
	result.Interfaces = []*types100.Interface{{Name: c.IfName, Mac: child.MAC.String(), Sandbox: c.NetNS}}
	result.IPs[0].Interface = types100.Int(0)
	dst, _ := types.ParseCIDR("0.0.0.0/0")
	result.Routes = append(result.Routes, &types.Route{Dst: *dst, GW: result.IPs[0].Gateway})
	return result, nil
}

// Del frees the address; the link ends with the pod's namespace, and if that is
// still there, now.
func (p *Child) Del(ctx context.Context, c Call) error {
	_, ipam, err := p.config(c)
	if err != nil {
		return err
	}
	if pod, err := c.pod(p.By); err == nil {
		defer pod.Close()
		if err := pod.Delete(ctx, c.IfName); err != nil {
			return err
		}
	}
	return ipam.Del(ctx, c)
}

func (p *Child) Check(ctx context.Context, c Call) error {
	_, ipam, err := p.config(c)
	if err != nil {
		return err
	}
	return errors.Join(ipam.Check(ctx, c), look(func() (*link.Net, error) { return c.pod(p.By) }, c.IfName,
		func(l link.Link) bool { return l.Up && l.Kind == p.Kind }, "is up and a "+p.Kind))
}
