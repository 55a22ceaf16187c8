package cni

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/klab-project/klab/netlab/ipam"
)

// HostLocal is the IPAM plugin "host-local": addresses of the node's own
// subnets, remembered in a directory. Other plugins delegate to it.
type HostLocal struct{}

type hostLocalConfig struct {
	Name string `json:"name"`
	IPAM struct {
		DataDir string         `json:"dataDir"`
		Ranges  [][]rangeConf  `json:"ranges"`
		Routes  []*types.Route `json:"routes"`
		rangeConf
	} `json:"ipam"`
}

type rangeConf struct {
	Subnet     netip.Prefix `json:"subnet"`
	RangeStart netip.Addr   `json:"rangeStart"`
	RangeEnd   netip.Addr   `json:"rangeEnd"`
	Gateway    netip.Addr   `json:"gateway"`
}

// defaultDataDir is where host-local keeps its networks by default.
const defaultDataDir = "/var/lib/cni/networks"

func (*HostLocal) pool(c Call) (*ipam.Pool, *hostLocalConfig, error) {
	var conf hostLocalConfig
	if err := decode(c, &conf); err != nil {
		return nil, nil, err
	}
	r := conf.IPAM.rangeConf
	if len(conf.IPAM.Ranges) > 0 {
		if len(conf.IPAM.Ranges) > 1 || len(conf.IPAM.Ranges[0]) != 1 {
			return nil, nil, types.NewError(types.ErrUnsupportedField, "host-local: only one range is supported", "")
		}
		r = conf.IPAM.Ranges[0][0]
	}
	if !r.Subnet.IsValid() {
		return nil, nil, types.NewError(types.ErrInvalidNetworkConfig, "host-local: the configuration has no subnet", "")
	}
	dir := conf.IPAM.DataDir
	if dir == "" {
		dir = defaultDataDir
	}
	p := &ipam.Pool{Dir: filepath.Join(dir, conf.Name), Subnet: r.Subnet, First: r.RangeStart, Last: r.RangeEnd, Gateway: r.Gateway}
	if !p.Gateway.IsValid() {
		p.Gateway = r.Subnet.Masked().Addr().Next()
	}
	return p, &conf, nil
}

func (h *HostLocal) Add(_ context.Context, c Call) (*Result, error) {
	p, conf, err := h.pool(c)
	if err != nil {
		return nil, err
	}
	a, err := p.Allocate(ipam.Owner{ContainerID: c.ContainerID, IfName: c.IfName})
	if err != nil {
		return nil, err
	}
	return &Result{
		CNIVersion: types100.ImplementedSpecVersion,
		IPs: []*types100.IPConfig{{
			Address: net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(p.Subnet.Bits(), a.BitLen())},
			Gateway: p.Gateway.AsSlice(),
		}},
		Routes: conf.IPAM.Routes,
	}, nil
}

func (h *HostLocal) Del(_ context.Context, c Call) error {
	p, _, err := h.pool(c)
	if err != nil {
		return err
	}
	return p.Release(ipam.Owner{ContainerID: c.ContainerID, IfName: c.IfName})
}

func (h *HostLocal) Check(_ context.Context, c Call) error {
	p, _, err := h.pool(c)
	if err != nil {
		return err
	}
	leases, err := p.List()
	for _, l := range leases {
		if l.Owner == (ipam.Owner{ContainerID: c.ContainerID, IfName: c.IfName}) {
			return nil
		}
	}
	if err == nil {
		err = fmt.Errorf("container %s has no address in %s", c.ContainerID, p.Subnet)
	}
	return err
}
