package cni

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/klab-project/klab/netlab/link"
)

// address is one that an attachment gets.
type address struct {
	IP      netip.Prefix
	Gateway netip.Addr
}

// addressesOf reads what IPAM gave, one address at least.
func addressesOf(r *Result) ([]address, error) {
	if len(r.IPs) == 0 {
		return nil, errors.New("IPAM plugin returned missing IP config")
	}
	var list []address
	for _, ip := range r.IPs {
		a, ok := netip.AddrFromSlice(ip.Address.IP)
		ones, _ := ip.Address.Mask.Size()
		if !ok {
			return nil, fmt.Errorf("IPAM plugin returned an address that is none: %v", ip)
		}
		got := address{IP: netip.PrefixFrom(a.Unmap(), ones)}
		if got.Gateway, ok = netip.AddrFromSlice(ip.Gateway); ok {
			got.Gateway = got.Gateway.Unmap()
		} else {
			got.Gateway = got.IP.Masked().Addr().Next()
		}
		list = append(list, got)
	}
	return list, nil
}

// v4 is the first IPv4 address, which others follow from.
func v4(list []address) (address, bool) {
	for _, a := range list {
		if a.IP.Addr().Is4() {
			return a, true
		}
	}
	return address{}, false
}

// macOf is the hardware address that follows from an attachment's addresses;
// nil, which lets the kernel choose, if none is IPv4.
func macOf(list []address) net.HardwareAddr {
	if a, ok := v4(list); ok {
		return link.MACOf(a.IP.Addr())
	}
	return nil
}

// everywhere is the default route of an address's family.
func everywhere(a address) netip.Prefix {
	if a.IP.Addr().Is4() {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// defaultRoutes adds to a result the default route of each family, unless IPAM
// gave one.
func defaultRoutes(r *Result, list []address) {
	for _, a := range list {
		dst, err := types.ParseCIDR(everywhere(a).String())
		if err != nil {
			panic(err) // it is one of two
		}
		known := false
		for _, route := range r.Routes {
			known = known || route.Dst.String() == dst.String()
		}
		if !known {
			r.Routes = append(r.Routes, &types.Route{Dst: *dst, GW: a.Gateway.AsSlice()})
		}
	}
}

// furnish gives the pod's end of an attachment its addresses and routes.
func furnish(ctx context.Context, pod *link.Net, name string, list []address, r *Result) error {
	for _, a := range list {
		if err := pod.Addr(ctx, name, a.IP); err != nil {
			return err
		}
	}
	if err := pod.Up(ctx, name); err != nil {
		return err
	}
	for _, route := range r.Routes {
		via, err := gateway(route, list)
		if err != nil {
			return err
		}
		dst, _ := netip.AddrFromSlice(route.Dst.IP)
		ones, _ := route.Dst.Mask.Size()
		if err := pod.Route(ctx, link.Route{Dst: netip.PrefixFrom(dst.Unmap(), ones).Masked(), Via: via, Dev: name}); err != nil {
			return err
		}
	}
	return nil
}

// gateway is a route's own, or else that of its family.
func gateway(r *types.Route, list []address) (netip.Addr, error) {
	if via, ok := netip.AddrFromSlice(r.GW); ok {
		return via.Unmap(), nil
	}
	for _, a := range list {
		if a.IP.Addr().Is4() == (r.Dst.IP.To4() != nil) {
			return a.Gateway, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("route to %s: the pod has no address of this family", r.Dst.String())
}

// noV6 keeps the kernel from giving the pod IPv6 addresses of its own accord, if
// it is to have none.
func noV6(ctx context.Context, pod *link.Net, list []address) error {
	value := "1"
	for _, a := range list {
		if !a.IP.Addr().Is4() {
			value = "0"
		}
	}
	err := pod.Sysctl(ctx, link.Sysctl{Key: "net.ipv6.conf.default.disable_ipv6", Value: value})
	if errors.Is(err, link.ErrNoSysctl) && value == "1" {
		return nil
	}
	return err
}
