package fault

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/moby/ipvs"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/netlab/link"
)

// servers are the virtual servers of a node's IPVS, all of the family that the
// key of a change names: IPv4 or IPv6.
type servers struct{}

// virtual is one with the real ones behind it.
type virtual struct {
	Service *ipvs.Service       `json:"service"`
	Real    []*ipvs.Destination `json:"real,omitempty"`
}

func (servers) list(n *link.Net, c Change) (list []virtual, err error) {
	if _, err := netlink.GenlFamilyGet("IPVS"); err != nil {
		return nil, wrong("this kernel has no IPVS (module ip_vs), and so nobody has virtual servers; the card flushes chains of iptables and nftables as well")
	}
	h, err := ipvs.New(n.Path())
	if err != nil {
		return nil, err
	}
	defer h.Close()
	all, err := h.GetServices()
	if err != nil {
		return nil, fmt.Errorf("list virtual servers: %w", err)
	}
	for _, s := range all {
		if (s.AddressFamily == unix.AF_INET6) != (c.Key == "IPv6") {
			continue
		}
		real, err := h.GetDestinations(s)
		if err != nil {
			return nil, fmt.Errorf("list the servers behind %s: %w", s.Address, err)
		}
		list = append(list, virtual{s, real})
	}
	return list, nil
}

func (k servers) Read(_ context.Context, n *link.Net, c Change) (json.RawMessage, error) {
	list, err := k.list(n, c)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, errThere(c.Node + " has no virtual servers of " + c.Key)
	}
	return json.Marshal(list)
}

func (k servers) Apply(ctx context.Context, n *link.Net, c Change) error {
	list, err := k.list(n, c)
	if err != nil {
		return err
	}
	h, err := ipvs.New(n.Path())
	if err != nil {
		return err
	}
	defer h.Close()
	for _, v := range list {
		start := time.Now()
		if err = h.DelService(v.Service); errors.Is(err, unix.ESRCH) {
			err = nil // somebody was faster
		}
		n.Ran(ctx, "ipvsadm -D "+v.at(), "netlink", time.Since(start), exitOf(err))
		if err != nil {
			return fmt.Errorf("delete the virtual server %s: %w", v.at(), err)
		}
	}
	return nil
}

// at is the virtual server as ipvsadm names it: "-t 10.96.0.1:443".
func (v virtual) at() string {
	a, _ := netip.AddrFromSlice(v.Service.Address)
	flag := map[uint16]string{unix.IPPROTO_UDP: "-u ", unix.IPPROTO_SCTP: "--sctp-service "}[v.Service.Protocol]
	return cmp.Or(flag, "-t ") + netip.AddrPortFrom(a.Unmap(), v.Service.Port).String()
}

// hashed is IP_VS_SVC_F_HASHED of linux/ip_vs.h: the kernel's own business.
const hashed = 2

// Restore leaves those alone that somebody has made since: kube-proxy, which
// then has made all.
func (k servers) Restore(ctx context.Context, n *link.Net, c Change) error {
	before, err := was[[]virtual](c)
	if err != nil {
		return err
	}
	now, err := k.list(n, c)
	if err != nil || len(now) > 0 {
		return err
	}
	h, err := ipvs.New(n.Path())
	if err != nil {
		return err
	}
	defer h.Close()
	start := time.Now()
	for _, v := range before {
		v.Service.Flags &^= hashed
		if err = h.NewService(v.Service); err != nil {
			break
		}
		for _, d := range v.Real {
			if err = h.NewDestination(v.Service, d); err != nil {
				break
			}
		}
	}
	n.Ran(ctx, "ipvsadm --restore # what \"ipvsadm --save\" wrote before", "netlink", time.Since(start), exitOf(err))
	return err
}
