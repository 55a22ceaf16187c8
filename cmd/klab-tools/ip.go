package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
)

// ip shows what ip(8) shows, in its form as far as it goes. It reads through
// rtnetlink(7) with the standard library.
func ip(c *call) int {
	o, rest, err := parse("4 6 br brief o", c.args)
	if err != nil {
		return c.usage(err.Error())
	}
	if len(rest) == 0 {
		return c.usage("what?")
	}
	if len(rest) > 1 && !slices.Contains([]string{"show", "list", "ls"}, rest[1]) {
		return c.usage("this ip only shows; the network of a pod is made from outside")
	}
	shows := []struct {
		name string
		show func(*call, options) error
	}{{"address", showAddrs}, {"link", showLinks}, {"route", showRoutes}, {"neighbour", showNeighbours}, {"neighbor", showNeighbours}}
	for _, s := range shows {
		if strings.HasPrefix(s.name, rest[0]) {
			if err := s.show(c, o); err != nil {
				return c.failf("%v", err)
			}
			return 0
		}
	}
	return c.usage(fmt.Sprintf("%q is not one of addr, link, route, neigh", rest[0]))
}

func link(c *call, i net.Interface) {
	flags := strings.ToUpper(strings.ReplaceAll(i.Flags.String(), "|", ","))
	// The peer of a veth pair is known by number only (iflink).
	peer := ""
	if data, err := os.ReadFile("/sys/class/net/" + i.Name + "/iflink"); err == nil {
		if n := strings.TrimSpace(string(data)); n != fmt.Sprint(i.Index) && n != "0" {
			peer = "@if" + n
		}
	}
	fmt.Fprintf(c.out, "%d: %s%s: <%s> mtu %d\n", i.Index, i.Name, peer, flags, i.MTU)
	kind := "link/ether " + i.HardwareAddr.String()
	switch {
	case i.Flags&net.FlagLoopback != 0:
		kind = "link/loopback"
	case len(i.HardwareAddr) == 0:
		kind = "link/none"
	}
	fmt.Fprintf(c.out, "    %s\n", kind)
}

func showLinks(c *call, _ options) error {
	all, err := net.Interfaces()
	for _, i := range all {
		link(c, i)
	}
	return err
}

func showAddrs(c *call, o options) error {
	all, err := net.Interfaces()
	if err != nil {
		return err
	}
	for _, i := range all {
		link(c, i)
		addrs, err := i.Addrs()
		if err != nil {
			return err
		}
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err != nil || (o.has("4") && !p.Addr().Is4()) || (o.has("6") && !p.Addr().Is6()) {
				continue
			}
			family := "inet"
			if p.Addr().Is6() {
				family = "inet6"
			}
			fmt.Fprintf(c.out, "    %s %s\n", family, p)
		}
	}
	return nil
}

// dump asks for a whole kernel table, again if it was interrupted.
func dump(kind, family int) ([]syscall.NetlinkMessage, error) {
	for {
		rib, err := syscall.NetlinkRIB(kind, family)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return nil, os.NewSyscallError("netlink", err)
		}
		return syscall.ParseNetlinkMessage(rib)
	}
}

// attributes splits the part after a fixed header of that size.
func attributes(data []byte, header int) map[uint16][]byte {
	out := make(map[uint16][]byte)
	for b := data[min(header, len(data)):]; len(b) >= 4; {
		size := int(binary.NativeEndian.Uint16(b))
		if size < 4 || size > len(b) {
			break
		}
		out[binary.NativeEndian.Uint16(b[2:])] = b[4:size]
		b = b[min((size+3)&^3, len(b)):]
	}
	return out
}

func showRoutes(c *call, o options) error {
	family := syscall.AF_INET
	if o.has("6") {
		family = syscall.AF_INET6
	}
	msgs, err := dump(syscall.RTM_GETROUTE, family)
	if err != nil {
		return err
	}
	for _, m := range msgs {
		// struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags.
		if m.Header.Type != syscall.RTM_NEWROUTE || len(m.Data) < 12 || m.Data[4] != syscall.RT_TABLE_MAIN {
			continue
		}
		fmt.Fprintln(c.out, route(m.Data[1], m.Data[7], attributes(m.Data, 12)))
	}
	return nil
}

func route(bits, kind byte, attr map[uint16][]byte) string {
	line := "default"
	if dst, ok := netip.AddrFromSlice(attr[syscall.RTA_DST]); ok {
		line = netip.PrefixFrom(dst, int(bits)).String()
	}
	for name, n := range map[string]byte{"blackhole ": syscall.RTN_BLACKHOLE, "unreachable ": syscall.RTN_UNREACHABLE, "prohibit ": syscall.RTN_PROHIBIT} {
		if kind == n {
			line = name + line
		}
	}
	if via, ok := netip.AddrFromSlice(attr[syscall.RTA_GATEWAY]); ok {
		line += " via " + via.String()
	}
	if b := attr[syscall.RTA_OIF]; len(b) == 4 {
		line += " dev " + linkName(int(binary.NativeEndian.Uint32(b)))
	}
	if src, ok := netip.AddrFromSlice(attr[syscall.RTA_PREFSRC]); ok {
		line += " src " + src.String()
	}
	if b := attr[syscall.RTA_PRIORITY]; len(b) == 4 {
		line += fmt.Sprintf(" metric %d", binary.NativeEndian.Uint32(b))
	}
	return line
}

func linkName(index int) string {
	if i, err := net.InterfaceByIndex(index); err == nil {
		return i.Name
	}
	return fmt.Sprintf("if%d", index)
}

// neighbourStates are the NUD_ bits of linux/neighbour.h.
var neighbourStates = []struct {
	bit  uint16
	name string
}{{1, "INCOMPLETE"}, {2, "REACHABLE"}, {4, "STALE"}, {8, "DELAY"}, {16, "PROBE"}, {32, "FAILED"}, {64, "NOARP"}, {128, "PERMANENT"}}

func showNeighbours(c *call, _ options) error {
	msgs, err := dump(syscall.RTM_GETNEIGH, syscall.AF_INET)
	if err != nil {
		return err
	}
	for _, m := range msgs {
		// struct ndmsg: family, pad, pad, ifindex, state, flags, type.
		if m.Header.Type != syscall.RTM_NEWNEIGH || len(m.Data) < 12 {
			continue
		}
		attr := attributes(m.Data, 12)
		dst, ok := netip.AddrFromSlice(attr[1])
		if !ok {
			continue
		}
		line := dst.String() + " dev " + linkName(int(binary.NativeEndian.Uint32(m.Data[4:])))
		if mac := attr[2]; len(mac) == 6 {
			line += " lladdr " + net.HardwareAddr(mac).String()
		}
		for _, s := range neighbourStates {
			if binary.NativeEndian.Uint16(m.Data[8:])&s.bit != 0 {
				line += " " + s.name
			}
		}
		fmt.Fprintln(c.out, line)
	}
	return nil
}
