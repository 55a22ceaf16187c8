package leak

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// network takes links, addresses, routes and routing rules.
func network(_ context.Context, s Snapshot, _ []string) error {
	links, err := again(netlink.LinkList)
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	names := map[int]string{} // indexes are handed out anew
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	for _, l := range links {
		a := l.Attrs()
		s["link"] = append(s["link"], fmt.Sprintf("%s %s mtu %d up %t master %s", a.Name, l.Type(), a.MTU, a.Flags&net.FlagUp != 0, names[a.MasterIndex]))
	}
	addrs, err := again(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, unix.AF_UNSPEC) })
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		s["address"] = append(s["address"], fmt.Sprintf("%s on %s", a.IPNet, names[a.LinkIndex]))
	}
	routes, err := again(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(unix.AF_UNSPEC, &netlink.Route{}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		s["route"] = append(s["route"], fmt.Sprintf("%v via %v on %s table %d", r.Dst, r.Gw, names[r.LinkIndex], r.Table))
	}
	return nil
}

func again[T any](read func() ([]T, error)) (list []T, err error) {
	for range 50 {
		if list, err = read(); !errors.Is(err, netlink.ErrDumpInterrupted) && !errors.Is(err, unix.EINTR) {
			return list, err
		}
	}
	return nil, err
}

var counters = regexp.MustCompile(`counter packets \d+ bytes \d+|\[\d+:\d+\]`)

// rules takes what the machine's firewalls have, without counters. nft shows
// what iptables-nft has as well.
func rules(ctx context.Context, s Snapshot, _ []string) error {
	commands := [][]string{{"nft", "list", "ruleset"}}
	if names, err := os.ReadFile("/proc/net/ip_tables_names"); err == nil && len(bytes.TrimSpace(names)) > 0 {
		commands = append(commands, []string{"iptables-legacy-save"})
	}
	for _, c := range commands {
		path, err := exec.LookPath(c[0])
		if err != nil {
			continue
		}
		out, err := exec.CommandContext(ctx, path, c[1:]...).Output()
		if err != nil {
			continue // this kernel has none
		}
		for line := range strings.Lines(string(out)) {
			line = strings.TrimSpace(counters.ReplaceAllString(line, ""))
			if line != "" && !strings.HasPrefix(line, "#") {
				s["rule"] = append(s["rule"], line)
			}
		}
	}
	return nil
}

// sysctls takes those that a lab sets in its own namespaces.
func sysctls(_ context.Context, s Snapshot, _ []string) error {
	for _, name := range []string{"net/ipv4/ip_forward", "net/ipv4/conf/all/rp_filter", "net/ipv4/conf/default/rp_filter",
		"net/ipv4/conf/all/forwarding", "net/ipv4/conf/all/route_localnet", "net/ipv6/conf/default/disable_ipv6",
		"net/ipv6/conf/all/forwarding", "net/ipv4/ip_unprivileged_port_start", "kernel/hostname"} {
		if text, err := os.ReadFile("/proc/sys/" + name); err == nil {
			s["sysctl"] = append(s["sysctl"], name+" = "+strings.TrimSpace(string(text)))
		}
	}
	return nil
}
