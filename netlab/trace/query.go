package trace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/netns"
)

// answer asks the kernel.
func (t *Tracer) answer(q Question) Answer {
	a := Answer{Question: q}
	s := t.spaces[q.Space]
	if s == nil {
		a.Errno = int(unix.ENOENT)
		return a
	}
	var err error
	switch q.Kind {
	case askRoute:
		a.Route, err = s.routeOf(q)
	case askNeighbour:
		a.Found, a.State, err = s.neighbour(q)
	case askFDB:
		a.Found, a.State, err = s.forward(q)
	case askConntrack:
		a.CT, err = s.connection(q)
	case askSysctl:
		a.Found, err = s.sysctl(q.Key)
	case askListener:
		a.Found, err = s.listener(q)
	case askLinks:
		if err = s.look(); err == nil {
			t.peers(s)
			a.Links = slices.Clone(s.links)
		}
	case askHairpin:
		a.Found, err = s.hairpin(q.Dev)
	case askNetdev:
		a.Found, err = s.netdevRules()
	case askQueue:
		a.Found, err = s.queue(q.Dev)
	case askRecent, askClients:
		a.At = time.Now().UnixNano()
		a.Clients, err = t.clients(s, q)
	}
	var errno unix.Errno
	if errors.As(err, &errno) {
		a.Errno = int(errno)
	} else if err != nil {
		a.Errno = int(unix.EIO)
	}
	return a
}

func (s *space) index(name string) uint32 {
	for _, l := range s.links {
		if l.Name == name {
			return uint32(l.Index)
		}
	}
	return 0
}

func (s *space) nameOf(index uint32) string {
	if l := s.link(int(index)); l != nil {
		return l.Name
	}
	return strconv.Itoa(int(index))
}

var routeTypes = map[uint8]string{
	unix.RTN_UNICAST: "unicast", unix.RTN_LOCAL: "local", unix.RTN_BROADCAST: "broadcast", unix.RTN_MULTICAST: "multicast",
	unix.RTN_BLACKHOLE: "blackhole", unix.RTN_UNREACHABLE: "unreachable", unix.RTN_PROHIBIT: "prohibit",
}

// routeProtos are who puts in routes, in the words of ip route; that of an
// administrator is not said.
var routeProtos = map[uint8]string{unix.RTPROT_KERNEL: "kernel", unix.RTPROT_REDIRECT: "redirect", unix.RTPROT_RA: "ra", unix.RTPROT_DHCP: "dhcp",
	unix.RTPROT_BIRD: "bird", unix.RTPROT_ZEBRA: "zebra", unix.RTPROT_BGP: "bgp"}

// routeOf asks for a route, as ip route get does. FIB_MATCH has the answer be the
// entry that matched.
func (s *space) routeOf(q Question) (*step.HopRoute, error) {
	ask := func(flags uint32) (*step.HopRoute, error) {
		bits := uint8(q.Dst.BitLen())
		b := []byte{familyOf(q.Dst), bits, 0, 0, 0, 0, 0, 0}
		if q.Src.IsValid() {
			b[2] = bits
		}
		b = binary.NativeEndian.AppendUint32(b, flags)
		b = put(b, unix.RTA_DST, q.Dst.AsSlice())
		if q.Src.IsValid() {
			b = put(b, unix.RTA_SRC, q.Src.AsSlice())
		}
		if q.In != "" {
			b = putNative(b, unix.RTA_IIF, s.index(q.In))
		}
		if q.Mark != 0 {
			b = putNative(b, unix.RTA_MARK, q.Mark)
		}
		var r *step.HopRoute
		err := s.route.ask(message{unix.RTM_GETROUTE, 0, b}, func(body []byte) {
			if len(body) < 12 {
				return
			}
			r = &step.HopRoute{Type: routeTypes[body[7]], Table: tableNameOf(uint32(body[4])), Proto: routeProtos[body[5]]}
			bits := int(body[1])
			dst := netip.IPv4Unspecified()
			if body[0] == unix.AF_INET6 {
				dst = netip.IPv6Unspecified()
			}
			for kind, data := range attrs(body[12:]) {
				switch kind {
				case unix.RTA_DST:
					dst = addrOf(data)
				case unix.RTA_TABLE:
					r.Table = tableNameOf(native32(data))
				case unix.RTA_OIF:
					r.Dev = s.nameOf(native32(data))
				case unix.RTA_GATEWAY:
					r.Via = addrOf(data).String()
				case unix.RTA_PREFSRC:
					r.Src = addrOf(data).String()
				}
			}
			if r.Dst = netip.PrefixFrom(dst, bits).String(); bits == 0 {
				r.Dst = "default"
			}
		})
		return r, err
	}
	table := uint32(unix.RTM_F_LOOKUP_TABLE)
	if q.Dst.Is6() {
		table = 0 // it is said in any case
	}
	r, err := ask(table)
	if err != nil || r == nil {
		return nil, err
	}
	if full, err := ask(table | unix.RTM_F_FIB_MATCH); err == nil && full != nil {
		r.Dst, r.Proto = full.Dst, full.Proto
	}
	return r, nil
}

func familyOf(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func tableNameOf(id uint32) string {
	switch id {
	case unix.RT_TABLE_MAIN:
		return "main"
	case unix.RT_TABLE_LOCAL:
		return "local"
	case unix.RT_TABLE_DEFAULT:
		return "default"
	}
	return strconv.Itoa(int(id))
}

var neighbourStates = map[uint16]string{
	unix.NUD_INCOMPLETE: "INCOMPLETE", unix.NUD_REACHABLE: "REACHABLE", unix.NUD_STALE: "STALE", unix.NUD_DELAY: "DELAY",
	unix.NUD_PROBE: "PROBE", unix.NUD_FAILED: "FAILED", unix.NUD_NOARP: "NOARP", unix.NUD_PERMANENT: "PERMANENT",
}

// neighbour asks for an entry of the table of ARP, or of IPv6's neighbours.
func (s *space) neighbour(q Question) (mac, state string, err error) {
	return s.entry(familyOf(q.Dst), 0, q.Dev, put(nil, unix.NDA_DST, q.Dst.AsSlice()))
}

// forward asks for an entry of a link's forwarding database.
func (s *space) forward(q Question) (dst, state string, err error) {
	hw, err := net.ParseMAC(q.Key)
	if err != nil {
		return "", "", err
	}
	return s.entry(unix.AF_BRIDGE, unix.NTF_SELF, q.Dev, put(nil, unix.NDA_LLADDR, hw))
}

func (s *space) entry(family, flags uint8, dev string, key []byte) (found, state string, err error) {
	b := []byte{family, 0, 0, 0}
	b = binary.NativeEndian.AppendUint32(b, s.index(dev))
	b = append(b, 0, 0, flags, 0)
	err = s.route.ask(message{unix.RTM_GETNEIGH, 0, append(b, key...)}, func(body []byte) {
		if len(body) < 12 {
			return
		}
		state = neighbourStates[binary.NativeEndian.Uint16(body[8:])]
		want := uint16(unix.NDA_LLADDR)
		if family == unix.AF_BRIDGE {
			want = unix.NDA_DST
		}
		switch data := attr(body[12:], want); len(data) {
		case 6:
			found = net.HardwareAddr(data).String()
		case 4, 16:
			found = addrOf(data).String()
		}
	})
	return found, state, err
}

// sysctl reads a setting of the space, such as "net.ipv4.ip_forward".
func (s *space) sysctl(key string) (value string, err error) {
	err = netns.DoFile(s.ns, func() error {
		// Settings are those of the thread that reads them.
		b, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(strings.ReplaceAll(key, ".", "/"), ":", "."))
		value = strings.TrimSpace(string(b))
		return err
	})
	return value, err
}

// listener asks for a socket that takes packets to an address and port.
func (s *space) listener(q Question) (found string, err error) {
	err = netns.DoFile(s.ns, func() error {
		list, err := sockets(q.Proto)
		for _, at := range list {
			if at.Port() == q.DPort && (at.Addr() == q.Dst || at.Addr().IsUnspecified()) {
				found = at.String()
			}
		}
		return err
	})
	return found, err
}

// sockets are the addresses at which packets are taken in the thread's namespace.
func sockets(proto uint8) (list []netip.AddrPort, err error) {
	add := func(id netlink.SocketID) {
		a := addrOf(id.Source)
		list = append(list, netip.AddrPortFrom(a, id.SourcePort))
	}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		if proto == unix.IPPROTO_UDP {
			all, err := netlink.SocketDiagUDP(family)
			if err != nil {
				return nil, err
			}
			for _, x := range all {
				add(x.ID)
			}
			continue
		}
		all, err := netlink.SocketDiagTCP(family)
		if err != nil {
			return nil, err
		}
		for _, x := range all {
			if x.State == netlink.TCP_LISTEN {
				add(x.ID)
			}
		}
	}
	return list, nil
}

func (s *space) hairpin(dev string) (string, error) {
	l, err := s.nl.LinkByName(dev)
	if err != nil {
		return "", err
	}
	info, err := s.nl.LinkGetProtinfo(l)
	return fmt.Sprint(info.Hairpin), err
}
