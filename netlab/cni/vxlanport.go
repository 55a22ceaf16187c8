package cni

import (
	"context"
	"net/netip"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/klab-project/klab/netlab/link"
)

// VXLANPort is the plugin "vxlan-port", which follows a bridge plugin: it
// makes the bridge one with the bridges of other nodes, as docker's overlay
// networks are. The device that it plugs into the bridge learns who is where.
type VXLANPort struct {
	ready
	NetNS string // the node's; empty: the process's own
	By    link.By
}

type vxlanPortConfig struct {
	netConf
	Bridge string       `json:"bridge"`
	Device string       `json:"device"`
	VNI    int          `json:"vni"`
	Port   int          `json:"port"`
	Master string       `json:"master"`
	Local  netip.Addr   `json:"local"`
	Peers  []netip.Addr `json:"peers"`
	MTU    int          `json:"mtu"`
}

func (p *VXLANPort) Add(ctx context.Context, c Call) (*Result, error) {
	var conf vxlanPortConfig
	if err := decode(c, &conf); err != nil {
		return nil, err
	}
	prev, err := conf.prev()
	if err != nil {
		return nil, err
	}
	if prev == nil {
		return nil, types.NewError(types.ErrInvalidNetworkConfig, "vxlan-port: it follows a bridge plugin", "")
	}
	node, err := link.Open(p.NetNS, p.By)
	if err != nil {
		return nil, err
	}
	defer node.Close()
	if err := node.Vxlan(ctx, link.Vxlan{Name: conf.Device, VNI: conf.VNI, Port: conf.Port, Local: conf.Local,
		Dev: conf.Master, MTU: conf.MTU, Learning: true}); err != nil {
		return nil, err
	}
	for _, peer := range conf.Peers {
		if peer == conf.Local {
			continue
		}
		if err := node.Flood(ctx, link.FDB{Dev: conf.Device, Dst: peer}); err != nil {
			return nil, err
		}
	}
	if err := node.Master(ctx, conf.Device, conf.Bridge); err != nil {
		return nil, err
	}
	return prev, node.Up(ctx, conf.Device)
}

// Del does nothing: other containers of the node may use the device.
func (p *VXLANPort) Del(context.Context, Call) error { return nil }

func (p *VXLANPort) Check(_ context.Context, c Call) error {
	var conf vxlanPortConfig
	if err := decode(c, &conf); err != nil {
		return err
	}
	node, err := link.Open(p.NetNS, p.By)
	if err != nil {
		return err
	}
	defer node.Close()
	return look(node, conf.Device, "is up and a port of "+conf.Bridge,
		func(l link.Link) bool { return l.Up && l.Master == conf.Bridge })
}
