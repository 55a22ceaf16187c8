package cni

import (
	"context"
	"errors"
	"fmt"

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
}

type childConfig struct {
	netConf
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
		return nil, nil, types.NewError(types.ErrUnsupportedField, fmt.Sprintf("%s: mode %q: the only mode is %s", p.Kind, conf.Mode, only), "")
	}
	if conf.IPAM.Type == "" {
		return nil, nil, types.NewError(types.ErrInvalidNetworkConfig, p.Kind+": the configuration has no ipam.type", "")
	}
	ipam, err := c.delegate(conf.IPAM.Type)
	return conf, ipam, err
}

func (p *Child) Add(ctx context.Context, c Call) (*Result, error) {
	conf, ipam, err := p.config(c)
	if err != nil {
		return nil, err
	}
	node, pod, closes, err := c.ends(p.NetNS, p.By)
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
	if err := noV6(ctx, pod, list); err != nil {
		return nil, err
	}
	child := link.Child{Kind: p.Kind, Name: c.IfName, Parent: conf.Master, Peer: pod}
	if p.Kind == "macvlan" {
		child.MAC = macOf(list)
	}
	if err := node.Child(ctx, child); err != nil {
		return nil, err
	}
	defaultRoutes(result, list)
	if err := furnish(ctx, pod, c.IfName, list, result); err != nil {
		return nil, err
	}
	result.Interfaces = []*types100.Interface{{Name: c.IfName, Mac: child.MAC.String(), Sandbox: c.NetNS}}
	for _, ip := range result.IPs {
		ip.Interface = types100.Int(0)
	}
	return result, nil
}

// Del frees the address; the link ends with the pod's namespace, and if that is
// still there, now.
func (p *Child) Del(ctx context.Context, c Call) error {
	_, ipam, err := p.config(c)
	if err != nil {
		return err
	}
	if err := c.unlink(ctx, p.By); err != nil {
		return err
	}
	return ipam.Del(ctx, c)
}

func (p *Child) Check(ctx context.Context, c Call) error {
	_, ipam, err := p.config(c)
	if err != nil {
		return err
	}
	pod, err := c.pod(p.By)
	if err != nil {
		return err
	}
	defer pod.Close()
	return errors.Join(ipam.Check(ctx, c), look(pod, c.IfName, "is up and a "+p.Kind,
		func(l link.Link) bool { return l.Up && l.Kind == p.Kind }))
}

// Status implements [Plugin].
func (p *Child) Status(ctx context.Context, c Call) error {
	_, ipam, err := p.config(c)
	if err != nil {
		return err
	}
	return ipam.Status(ctx, c)
}

// GC implements [Plugin]: links end with their pods.
func (p *Child) GC(ctx context.Context, c Call) error {
	_, ipam, err := p.config(c)
	if err != nil {
		return err
	}
	return ipam.GC(ctx, c)
}
