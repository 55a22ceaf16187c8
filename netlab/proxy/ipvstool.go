package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/ipvs"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/netlab/firewall"
	"github.com/klab-project/klab/netlab/kmod"
	"github.com/klab-project/klab/netlab/link"
)

// IPVSBackend is the backend of the mode ipvs.
type IPVSBackend struct {
	*firewall.Tool
	Net  *link.Net
	By   link.By
	IPv6 bool // it is for the other family, and so is Tool
}

func (b *IPVSBackend) family() family { return family(b.IPv6) }

// ErrNoIPVS is the error of Prepare where the kernel has no IPVS.
var ErrNoIPVS = errors.New("this kernel has no IPVS (module ip_vs); the modes iptables and nftables stand in for it")

// Prepare implements Backend.
func (b *IPVSBackend) Prepare(ctx context.Context) error {
	if b.Tool == nil {
		return firewall.ErrNoTool
	}
	if !hasIPVS(ctx, b.By) {
		return ErrNoIPVS
	}
	err := b.prepare(ctx)
	if err != nil { // nothing is to be left of an attempt
		have, shared, _ := b.facts()
		_ = b.Restore(ctx, Change{Text: b.family().removal(have, shared, "", nil)})
	}
	return err
}

// prepare makes what has no rules yet. The kernel loads the modules of sets,
// matches and the scheduler itself.
func (b *IPVSBackend) prepare(ctx context.Context) error {
	if err := b.Net.Typed(ctx, ipvsLink, "dummy"); err != nil {
		return fmt.Errorf("this kernel has no dummy links, which %s is: %w", ipvsLink, err)
	}
	for _, set := range ipsets {
		if err := b.set(strings.Fields(b.family().create(set))); err != nil {
			return fmt.Errorf("this kernel has no ipset of that kind: %w", err)
		}
	}
	return b.Net.Sysctl(ctx,
		link.Sysctl{Key: "net.ipv4.vs.conntrack", Value: "1"},
		link.Sysctl{Key: "net.ipv4.vs.expire_nodest_conn", Value: "1"},
		link.Sysctl{Key: "net.ipv4.vs.expire_quiescent_template", Value: "1"})
}

func hasIPVS(ctx context.Context, by link.By) bool {
	_, err := netlink.GenlFamilyGet("IPVS")
	if err != nil {
		if _, err = kmod.Load(ctx, by, "ip_vs"); err == nil {
			_, err = netlink.GenlFamilyGet("IPVS")
		}
	}
	return err == nil
}

// Rules implements Backend.
func (b *IPVSBackend) Rules(node Node, s State) Ruleset { return IPVSRules(b.at(node), s) }

// at adds the node's further addresses, all of which take packets to NodePorts.
func (b *IPVSBackend) at(node Node) Node {
	node.Others = slices.DeleteFunc(b.locals(), func(a netip.Addr) bool { return a == node.IP })
	return node
}

// locals are the node's addresses of the family but for those of Services; none
// if they cannot be read.
func (b *IPVSBackend) locals() (list []netip.Addr) {
	links, err := b.Net.Links()
	if err != nil {
		return nil // its main address is enough to begin with
	}
	for _, l := range links {
		for _, p := range l.Addrs {
			if a := p.Addr(); l.Name != ipvsLink && a.Is6() == b.IPv6 && !a.IsLoopback() && !a.IsLinkLocalUnicast() {
				list = append(list, a)
			}
		}
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return slices.Compact(list)
}

// Plan implements Backend.
func (b *IPVSBackend) Plan(ctx context.Context, want Ruleset) (string, error) {
	r := want.(*Servers)
	have, _, err := b.facts()
	if err != nil {
		return "", err
	}
	saved, err := b.Saved(ctx, b.Net)
	return r.from(have, r.tables.Plan(saved)), err
}

// Removal implements Backend.
func (b *IPVSBackend) Removal(ctx context.Context, next Ruleset) (string, error) {
	if b.Tool == nil {
		return "", nil
	}
	if _, err := netlink.GenlFamilyGet("IPVS"); err != nil {
		return "", nil // nobody can have made any
	}
	have, shared, err := b.facts()
	if err != nil {
		return "", err
	}
	saved, err := b.Saved(ctx, b.Net)
	if err != nil {
		return "", err
	}
	var keep firewall.Rules
	if t, ok := next.(Tables); ok {
		keep = t.Rules
	}
	return b.family().removal(have, shared, saved, keep), nil
}

// Undo implements Backend.
func (b *IPVSBackend) Undo(context.Context) error { return nil }

// Restore implements Backend: each line by netlink, and the rules by iptables.
func (b *IPVSBackend) Restore(ctx context.Context, c Change) error {
	script := c.Text
	for script != "" {
		line, rest, _ := strings.Cut(script, "\n")
		if strings.HasPrefix(line, b.family().restore()+" ") {
			text, after, _ := strings.Cut(rest, "EOF\n")
			if err := b.Feed(ctx, b.Net, text); err != nil {
				return err
			}
			script = after
			continue
		}
		start := time.Now()
		err := b.line(ctx, strings.Fields(line))
		exit := 0
		if err != nil {
			exit = 1
		}
		b.Net.Ran(ctx, line, "netlink", time.Since(start), exit)
		if err != nil {
			return fmt.Errorf("%s: %w", line, err)
		}
		script = rest
	}
	return nil
}

func (b *IPVSBackend) line(ctx context.Context, words []string) error {
	switch words[0] {
	case "ipset":
		return b.set(words)
	case "ipvsadm":
		return b.server(ctx, words)
	case "ip":
		return b.ip(ctx, words)
	}
	return fmt.Errorf("%q is no program of this mode", words[0])
}

func (b *IPVSBackend) ip(ctx context.Context, words []string) error {
	switch what := strings.Join(words[1:3], " "); what {
	case "link add":
		return b.Net.Typed(ctx, ipvsLink, "dummy")
	case "link del":
		return b.Net.Delete(ctx, ipvsLink)
	default:
		p, err := netip.ParsePrefix(words[3])
		if err != nil {
			return err
		}
		if what == "addr add" {
			return b.Net.Addr(ctx, ipvsLink, p)
		}
		return b.Net.DelAddr(ctx, ipvsLink, p)
	}
}

// server carries out a line of ipvsadm. What is there already, and what has
// gone, is as it should be.
func (b *IPVSBackend) server(ctx context.Context, words []string) error {
	h, err := ipvs.New(b.Net.Path())
	if err != nil {
		return err
	}
	defer h.Close()
	s, err := parseServer(words)
	if err != nil {
		return err
	}
	d := &ipvs.Destination{AddressFamily: s.AddressFamily, ConnectionFlags: ipvs.ConnectionFlagMasq}
	if len(words) > 5 && words[4] == "-r" {
		at, err := netip.ParseAddrPort(words[5])
		if err != nil {
			return err
		}
		d.Address, d.Port = net.IP(at.Addr().AsSlice()), at.Port()
	}
	if n := len(words); n > 2 && words[n-2] == "-w" {
		d.Weight, _ = strconv.Atoi(words[n-1])
	}
	switch words[1] {
	case "-A":
		return again(h.NewService(s), func() error { return h.UpdateService(s) })
	case "-E":
		return h.UpdateService(s)
	case "-D":
		return unlessGone(h.DelService(s))
	case "-a":
		return again(h.NewDestination(s, d), func() error { return h.UpdateDestination(s, d) })
	case "-e":
		if err := unlessGone(h.UpdateDestination(s, d)); err != nil || d.Weight > 0 {
			return err
		}
		return b.drained(ctx, h, s, d, words)
	case "-d":
		return unlessGone(h.DelDestination(s, d))
	}
	return fmt.Errorf("ipvsadm has no %s here", words[1])
}

// drained takes away a real server that has no connections. One that has some
// keeps them, and goes when the rules are looked at and it has none.
func (b *IPVSBackend) drained(ctx context.Context, h *ipvs.Handle, s *ipvs.Service, d *ipvs.Destination, words []string) error {
	all, err := h.GetDestinations(s)
	if err != nil {
		return err
	}
	for _, have := range all {
		if have.Address.Equal(d.Address) && have.Port == d.Port && have.ActiveConnections+have.InactiveConnections == 0 {
			err = unlessGone(h.DelDestination(s, d))
			b.Net.Ran(ctx, "ipvsadm -d "+strings.Join(words[2:6], " "), "netlink", 0, 0)
		}
	}
	return err
}

func again(err error, change func() error) error {
	if errors.Is(err, unix.EEXIST) {
		return change()
	}
	return err
}

func unlessGone(err error) error {
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

func parseServer(words []string) (*ipvs.Service, error) {
	at, err := netip.ParseAddrPort(words[3])
	if err != nil {
		return nil, err
	}
	s := &ipvs.Service{Address: net.IP(at.Addr().AsSlice()), Port: at.Port(), SchedName: "rr", AddressFamily: unix.AF_INET, Netmask: 0xffffffff}
	if at.Addr().Is6() {
		s.AddressFamily, s.Netmask = unix.AF_INET6, 128
	}
	s.Protocol = map[string]uint16{"-t": unix.IPPROTO_TCP, "-u": unix.IPPROTO_UDP, "--sctp-service": unix.IPPROTO_SCTP}[words[2]]
	if i := slices.Index(words, "-p"); i > 0 && i+1 < len(words) {
		seconds, err := strconv.Atoi(words[i+1])
		if err != nil {
			return nil, err
		}
		s.Flags, s.Timeout = persistent, uint32(seconds)
	}
	return s, nil
}
