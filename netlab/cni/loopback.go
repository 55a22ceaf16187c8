package cni

import (
	"context"
	"errors"
	"net"
	"net/netip"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/klab-project/klab/netlab/link"
)

// Loopback is the plugin "loopback": it switches a pod's own link lo on.
type Loopback struct {
	ready
	By link.By
}

func (p *Loopback) Add(ctx context.Context, c Call) (*Result, error) {
	if err := decode(c, &netConf{}); err != nil {
		return nil, err
	}
	pod, err := c.pod(p.By)
	if err != nil {
		return nil, err
	}
	defer pod.Close()
	if err := pod.Up(ctx, "lo"); err != nil {
		return nil, err
	}
	local := netip.MustParsePrefix("127.0.0.1/8")
	return &Result{
		CNIVersion: types100.ImplementedSpecVersion,
		Interfaces: []*types100.Interface{{Name: "lo", Mac: "00:00:00:00:00:00", Sandbox: c.NetNS}},
		IPs: []*types100.IPConfig{{
			Interface: types100.Int(0),
			Address:   net.IPNet{IP: local.Addr().AsSlice(), Mask: net.CIDRMask(local.Bits(), 32)},
		}},
	}, nil
}

// Del does nothing: lo ends with its namespace.
func (p *Loopback) Del(context.Context, Call) error { return nil }

func (p *Loopback) Check(_ context.Context, c Call) error {
	pod, err := c.pod(p.By)
	if err != nil {
		return err
	}
	defer pod.Close()
	l, _, err := pod.Link("lo")
	if err == nil && !l.Up {
		err = errors.New("lo is down")
	}
	return err
}
