package cni

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/klab-project/klab/netlab/ipam"
)

// HostLocal is the IPAM plugin "host-local": addresses of the node's own
// subnets, remembered in a directory. Other plugins delegate to it. An
// attachment gets one address of each set of ranges.
// Source: https://github.com/containernetworking/plugins/tree/main/plugins/ipam/host-local
type HostLocal struct{}

type hostLocalConfig struct {
	netConf
	IPAM *struct {
		DataDir    string         `json:"dataDir"`
		ResolvConf string         `json:"resolvConf"`
		Ranges     [][]rangeConf  `json:"ranges"`
		Routes     []*types.Route `json:"routes"`
		rangeConf
	} `json:"ipam"`
	RuntimeConfig struct {
		IPRanges [][]rangeConf `json:"ipRanges"`
		IPs      []string      `json:"ips"`
	} `json:"runtimeConfig"`
	Args struct {
		CNI struct {
			IPs []string `json:"ips"`
		} `json:"cni"`
	} `json:"args"`
}

type rangeConf struct {
	Subnet     netip.Prefix `json:"subnet"`
	RangeStart netip.Addr   `json:"rangeStart"`
	RangeEnd   netip.Addr   `json:"rangeEnd"`
	Gateway    netip.Addr   `json:"gateway"`
}

// defaultDataDir is where host-local keeps its networks by default.
const defaultDataDir = "/var/lib/cni/networks"

func (*HostLocal) config(c Call) (*hostLocalConfig, []*ipam.Pool, error) {
	conf := &hostLocalConfig{}
	if err := decode(c, conf); err != nil {
		return nil, nil, err
	}
	if conf.IPAM == nil {
		return nil, nil, types.NewError(types.ErrInvalidNetworkConfig, "IPAM config missing 'ipam' key", "")
	}
	if conf.IPAM.DataDir == "" {
		conf.IPAM.DataDir = defaultDataDir
	}
	sets := append(conf.RuntimeConfig.IPRanges, conf.IPAM.Ranges...)
	if conf.IPAM.Subnet.IsValid() {
		sets = append([][]rangeConf{{conf.IPAM.rangeConf}}, sets...)
	}
	pools, err := poolsOf(filepath.Join(conf.IPAM.DataDir, conf.Name), sets)
	if err != nil {
		return nil, nil, types.NewError(types.ErrInvalidNetworkConfig, "host-local: "+err.Error(), "")
	}
	return conf, pools, nil
}

// poolsOf makes a pool of each set of ranges, and says what is wrong with them.
func poolsOf(dir string, sets [][]rangeConf) ([]*ipam.Pool, error) {
	if len(sets) == 0 {
		return nil, fmt.Errorf("no IP ranges specified: the configuration has no subnet")
	}
	var pools []*ipam.Pool
	for i, set := range sets {
		p := &ipam.Pool{Dir: dir, Number: i}
		if len(set) == 0 {
			return nil, fmt.Errorf("invalid range set %d: empty range set", i)
		}
		for _, r := range set {
			whole, err := ipam.Range{Subnet: r.Subnet, First: r.RangeStart, Last: r.RangeEnd, Gateway: r.Gateway}.Complete()
			if err != nil {
				return nil, fmt.Errorf("invalid range set %d: %w", i, err)
			}
			if whole.Subnet.Addr().Is4() != set[0].Subnet.Addr().Is4() {
				return nil, fmt.Errorf("invalid range set %d: mixed address families", i)
			}
			for j, other := range append(pools, p) {
				for _, o := range other.Ranges {
					if whole.Overlaps(o) {
						return nil, fmt.Errorf("range set %d overlaps with %d: %s and %s; give each addresses of its own", i, j, whole, o)
					}
				}
			}
			p.Ranges = append(p.Ranges, whole)
		}
		pools = append(pools, p)
	}
	return pools, nil
}

// wanted are the addresses that the caller asks for.
func (conf *hostLocalConfig) wanted(c Call) (list []netip.Addr, err error) {
	for _, text := range append(append([]string{c.Arg("IP")}, conf.Args.CNI.IPs...), conf.RuntimeConfig.IPs...) {
		text, _, _ = strings.Cut(text, "/")
		if text == "" {
			continue
		}
		a, err := netip.ParseAddr(text)
		if err != nil {
			return nil, types.NewError(types.ErrInvalidNetworkConfig, fmt.Sprintf("host-local: cannot understand ip: %q", text), "")
		}
		list = append(list, a)
	}
	return list, nil
}

func (h *HostLocal) Add(_ context.Context, c Call) (*Result, error) {
	conf, pools, err := h.config(c)
	if err != nil {
		return nil, err
	}
	wanted, err := conf.wanted(c)
	if err != nil {
		return nil, err
	}
	r := &Result{CNIVersion: types100.ImplementedSpecVersion, Routes: conf.IPAM.Routes}
	if conf.IPAM.ResolvConf != "" {
		if r.DNS, err = resolvConf(conf.IPAM.ResolvConf); err != nil {
			return nil, err
		}
	}
	owner := ipam.Owner{ContainerID: c.ContainerID, IfName: c.IfName}
	for i, p := range pools {
		var want netip.Addr
		for n, a := range wanted {
			if p.Holds(a) {
				want, wanted = a, append(wanted[:n:n], wanted[n+1:]...)
				break
			}
		}
		a, in, err := p.Allocate(owner, want)
		if err != nil {
			_ = pools[0].Release(owner) // the error that is returned came first
			return nil, fmt.Errorf("failed to allocate for range %d: %w", i, err)
		}
		r.IPs = append(r.IPs, &types100.IPConfig{
			Address: net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(in.Subnet.Bits(), a.BitLen())},
			Gateway: in.Gateway.AsSlice(),
		})
	}
	if len(wanted) > 0 {
		_ = pools[0].Release(owner)
		return nil, fmt.Errorf("failed to allocate all requested IPs: %v", wanted)
	}
	return r, nil
}

func (h *HostLocal) Del(_ context.Context, c Call) error {
	_, pools, err := h.config(c)
	if err != nil {
		return err
	}
	return pools[0].Release(ipam.Owner{ContainerID: c.ContainerID, IfName: c.IfName})
}

func (h *HostLocal) Check(_ context.Context, c Call) error {
	_, pools, err := h.config(c)
	if err != nil {
		return err
	}
	leases, err := pools[0].List()
	for _, l := range leases {
		if l.Owner == (ipam.Owner{ContainerID: c.ContainerID, IfName: c.IfName}) {
			return nil
		}
	}
	if err == nil {
		err = fmt.Errorf("host-local: Failed to find address added by container %v", c.ContainerID)
	}
	return err
}

// Status implements [Plugin]: its configuration is all that it needs.
func (h *HostLocal) Status(_ context.Context, c Call) error {
	_, _, err := h.config(c)
	return err
}

// GC implements [Plugin].
func (h *HostLocal) GC(_ context.Context, c Call) error {
	conf, pools, err := h.config(c)
	if err != nil {
		return err
	}
	return pools[0].Keep(func(o ipam.Owner) bool { return conf.has(o.ContainerID, o.IfName) })
}

// resolvConf reads a file like /etc/resolv.conf.
func resolvConf(path string) (dns types.DNS, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return dns, err
	}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "nameserver":
			dns.Nameservers = append(dns.Nameservers, words[1])
		case "domain":
			dns.Domain = words[1]
		case "search":
			dns.Search = append(dns.Search, words[1:]...)
		case "options":
			dns.Options = append(dns.Options, words[1:]...)
		}
	}
	return dns, nil
}
