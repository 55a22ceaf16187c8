package topology

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"

	"github.com/klab-project/klab/netlab/firewall"
	"github.com/klab-project/klab/netlab/kmod"
	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/netns"
)

// Lab is a network that has been built.
type Lab struct {
	Config
	// Missing says, in sentences for people, what the lab has to do without.
	Missing []string

	tool *firewall.Tool // nil: there is no iptables
}

const (
	bridge      = "br0"
	bridgeRules = "net.bridge.bridge-nf-call-iptables"
	// bridgeRules6 is the same of ip6tables.
	bridgeRules6 = "net.bridge.bridge-nf-call-ip6tables"
)

// Build makes the lab's namespaces and what connects them, or completes them.
func Build(ctx context.Context, c Config) (*Lab, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	l := &Lab{Config: c}
	if l.tool, err = firewall.Detect(ctx); err == nil {
		l.tool.Lock = l.pin("xtables.lock")
	} else {
		l.Missing = append(l.Missing, err.Error())
	}
	// All other modules are loaded by the kernel itself when they are first used.
	if _, err := os.Stat("/proc/sys/net/bridge"); err != nil {
		if _, err := kmod.Load(ctx, c.By, "br_netfilter"); err != nil {
			l.Missing = append(l.Missing, err.Error()+"; Services do not work between pods of one node")
		}
	}
	for _, ns := range []string{l.UnderlayNS(), l.GatewayNS(), l.ControlNS(), l.OutsideNS()} {
		if err := netns.Create(ns); err != nil {
			return nil, fmt.Errorf("build network: %w", err)
		}
	}
	if err := l.build(ctx); err != nil {
		return nil, fmt.Errorf("build network: %w", err)
	}
	return l, nil
}

func (l *Lab) build(ctx context.Context) error {
	underlay, err := l.open(l.UnderlayNS(), "underlay")
	if err != nil {
		return err
	}
	defer underlay.Close()
	gateway, err := l.open(l.GatewayNS(), "gateway")
	if err != nil {
		return err
	}
	defer gateway.Close()
	control, err := l.open(l.ControlNS(), "control")
	if err != nil {
		return err
	}
	defer control.Close()
	outside, err := l.open(l.OutsideNS(), "outside")
	if err != nil {
		return err
	}
	defer outside.Close()

	for _, n := range []*link.Net{underlay, gateway, control, outside} {
		if err := l.prepare(ctx, n); err != nil {
			return err
		}
	}
	// A switch knows no rules.
	err = underlay.Sysctl(ctx, link.Sysctl{Key: bridgeRules, Value: "0"}, link.Sysctl{Key: bridgeRules6, Value: "0"})
	if err != nil && !errors.Is(err, link.ErrNoSysctl) {
		return err
	}
	br := link.MACOf(l.Underlay.Addr())
	if err := errors.Join(underlay.Bridge(ctx, bridge, br, l.MTU), underlay.Up(ctx, bridge)); err != nil {
		return err
	}
	err = errors.Join(
		l.plug(ctx, underlay, "gateway", gateway, l.GatewayIP()),
		l.plug(ctx, underlay, "control", control, l.ControlIP()),
		l.wire(ctx, gateway, outside),
		gateway.Sysctl(ctx, link.Sysctl{Key: "net.ipv4.ip_forward", Value: "1"}))
	if err != nil {
		return err
	}
	return errors.Join(
		control.Route(ctx, defaultVia(l.GatewayIP())),
		outside.Route(ctx, defaultVia(l.OutsideGW())),
		l.build6(ctx, gateway, control, outside))
}

func (l *Lab) open(path, name string) (*link.Net, error) {
	by := l.By
	if by.Node == "" {
		by.Node = name
	}
	return link.Open(path, by)
}

// prepare furnishes a namespace that has nothing yet. A link without IPv6 is
// silent until somebody speaks.
func (l *Lab) prepare(ctx context.Context, n *link.Net) error {
	if l.DualStack {
		if err := speak(ctx, n); err != nil {
			return err
		}
		return n.Up(ctx, "lo")
	}
	err := n.Sysctl(ctx, link.Sysctl{Key: "net.ipv6.conf.default.disable_ipv6", Value: "1"})
	if err != nil && !errors.Is(err, link.ErrNoSysctl) {
		return err
	}
	return n.Up(ctx, "lo")
}

// plug connects a namespace's eth0 to the underlay's port of that name.
func (l *Lab) plug(ctx context.Context, underlay *link.Net, port string, n *link.Net, ip netip.Addr) error {
	if err := underlay.Veth(ctx, link.Veth{
		Name: port, PeerName: "eth0", PeerMAC: link.MACOf(ip), MTU: l.MTU, Peer: n,
	}); err != nil {
		return err
	}
	if err := underlay.Master(ctx, port, bridge); err != nil {
		return err
	}
	if err := underlay.Up(ctx, port); err != nil {
		return err
	}
	return address(ctx, n, "eth0", in(l.Underlay, ip))
}

// wire connects the gateway and the outside.
func (l *Lab) wire(ctx context.Context, gateway, outside *link.Net) error {
	if err := gateway.Veth(ctx, link.Veth{
		Name: "eth1", MAC: link.MACOf(l.OutsideGW()), PeerName: "eth0", PeerMAC: link.MACOf(l.ClientIP()), MTU: l.MTU, Peer: outside,
	}); err != nil {
		return err
	}
	if err := address(ctx, gateway, "eth1", in(l.Outside, l.OutsideGW())); err != nil {
		return err
	}
	return address(ctx, outside, "eth0", in(l.Outside, l.ClientIP()))
}

func address(ctx context.Context, n *link.Net, name string, p netip.Prefix) error {
	if err := n.Addr(ctx, name, p); err != nil {
		return err
	}
	return n.Up(ctx, name)
}

func defaultVia(gw netip.Addr) link.Route {
	any := netip.IPv4Unspecified()
	if gw.Is6() {
		any = netip.IPv6Unspecified()
	}
	return link.Route{Dst: netip.PrefixFrom(any, 0), Via: gw, Dev: "eth0"}
}

// Destroy removes the lab's namespaces with all that is in them, also after a
// build that was cut short. Nodes lose their uplinks; their namespaces stay.
func Destroy(dir string) error {
	l := &Lab{Config: Config{Dir: dir}}
	var errs []error
	for _, ns := range []string{l.OutsideNS(), l.ControlNS(), l.GatewayNS(), l.UnderlayNS()} {
		errs = append(errs, netns.Delete(ns))
	}
	for _, path := range []string{l.pin("xtables.lock"), dir} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) && path != dir {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
