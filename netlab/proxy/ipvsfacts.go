package proxy

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/ipvs"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// persistent is IP_VS_SVC_F_PERSISTENT of linux/ip_vs.h.
const persistent = 1

// The range of node ports, as upstream's default: of the servers at the node's
// own addresses only those are the proxy's.
const firstNodePort, lastNodePort = 30000, 32767

// facts are what the kernel has, in the words of [Servers]. What belongs to
// strangers is not in it, nor what the other family has; shared tells that it
// has something.
func (b *IPVSBackend) facts() (facts []string, shared bool, err error) {
	bound := map[netip.Addr]bool{}
	l, ok, err := b.Net.Link(ipvsLink)
	if err != nil {
		return nil, false, err
	}
	if ok {
		facts = append(facts, linkFact)
		for _, p := range l.Addrs {
			if p.Addr().IsLinkLocalUnicast() || p.Addr().Is6() != b.IPv6 {
				continue
			}
			bound[p.Addr()] = true
			facts = append(facts, fmt.Sprintf("ip addr add %s dev %s", p, ipvsLink))
		}
	}
	sets, shared, err := b.setFacts()
	if err != nil {
		return nil, false, err
	}
	servers, err := b.serverFacts(bound)
	return slices.Concat(facts, sets, servers), shared, err
}

func (b *IPVSBackend) serverFacts(bound map[netip.Addr]bool) (facts []string, err error) {
	h, err := ipvs.New(b.Net.Path())
	if err != nil {
		return nil, err
	}
	defer h.Close()
	services, err := h.GetServices()
	if err != nil {
		return nil, fmt.Errorf("list virtual servers: %w", err)
	}
	own := map[netip.Addr]bool{}
	for _, a := range b.locals() {
		own[a] = true
	}
	for _, s := range services {
		a, _ := netip.AddrFromSlice(s.Address)
		a = a.Unmap()
		if !bound[a] && !(own[a] && s.Port >= firstNodePort && s.Port <= lastNodePort) {
			continue
		}
		at := map[uint16]string{unix.IPPROTO_TCP: "-t ", unix.IPPROTO_UDP: "-u ", unix.IPPROTO_SCTP: "--sctp-service "}[s.Protocol] +
			netip.AddrPortFrom(a, s.Port).String()
		line := "ipvsadm -A " + at + " -s " + s.SchedName
		if s.Flags&persistent != 0 {
			line += fmt.Sprintf(" -p %d", s.Timeout)
		}
		facts = append(facts, line)
		real, err := h.GetDestinations(s)
		if err != nil {
			return nil, fmt.Errorf("list the servers behind %s: %w", at, err)
		}
		for _, d := range real {
			ra, _ := netip.AddrFromSlice(d.Address)
			line := fmt.Sprintf("ipvsadm -a %s -r %s -m -w %d", at, netip.AddrPortFrom(ra.Unmap(), d.Port), d.Weight)
			if d.Weight == 0 && d.ActiveConnections+d.InactiveConnections > 0 {
				line += " busy"
			}
			facts = append(facts, line)
		}
	}
	return facts, nil
}

// sets runs f with a handle for sets, in the node's namespace.
func (b *IPVSBackend) sets(f func(h *netlink.Handle) error) error {
	return b.Net.Do(func() error {
		h, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
		if err != nil {
			return err
		}
		defer h.Close()
		return f(h)
	})
}

// setFacts are the proxy's sets and their entries; shared tells whether there
// are some of the other family.
func (b *IPVSBackend) setFacts() (facts []string, shared bool, err error) {
	err = b.sets(func(h *netlink.Handle) error {
		all, err := h.IpsetListAll()
		if err != nil {
			return fmt.Errorf("list sets: %w", err)
		}
		for _, s := range all {
			kind, ok := b.family().findSet(s.SetName)
			if !ok {
				_, others := (!b.family()).findSet(s.SetName)
				shared = shared || others
				continue
			}
			if create := b.family().create(kind); !slices.Contains(facts, create) {
				facts = append(facts, create) // a long list comes in parts
			}
			for _, e := range s.Entries {
				facts = append(facts, "ipset add "+s.SetName+" "+entryText(s.TypeName, e))
			}
		}
		return nil
	})
	return facts, shared, err
}

// set carries out a line of ipset. What is so already is no error.
func (b *IPVSBackend) set(words []string) error {
	return b.sets(func(h *netlink.Handle) error {
		name := words[2]
		switch words[1] {
		case "create":
			o := netlink.IpsetCreateOptions{Replace: true, PortTo: 65535, Family: b.family().number()}
			return h.IpsetCreate(name, words[3], o)
		case "destroy":
			return h.IpsetDestroy(name)
		}
		if kind, _ := b.family().findSet(name); kind.kind == bitmapPort {
			return setPort(words[1] == "add", name, words[3])
		}
		e, err := parseEntry(words[3])
		if err != nil {
			return err
		}
		e.Replace = true // no error if it is there, or gone
		if words[1] == "add" {
			return h.IpsetAdd(name, e)
		}
		return h.IpsetDel(name, e)
	})
}

// entryText is an entry as ipset prints it: "10.96.0.1,tcp:443".
func entryText(kind string, e netlink.IPSetEntry) string {
	port := ""
	if e.Port != nil {
		port = strconv.Itoa(int(*e.Port))
	}
	if kind == bitmapPort {
		return port
	}
	text := e.IP.String()
	if kind == hashIP {
		return text
	}
	protocol := "tcp"
	if e.Protocol != nil {
		protocol = map[uint8]string{unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp", unix.IPPROTO_SCTP: "sctp"}[*e.Protocol]
	}
	text += "," + protocol + ":" + port
	switch kind {
	case hashIPPortIP:
		text += "," + e.IP2.String()
	case hashIPPortNet:
		text += fmt.Sprintf(",%s/%d", e.IP2, e.CIDR2)
	}
	return text
}

// setPort changes a set of ports; the library would send a protocol too, which
// the kernel refuses.
func setPort(add bool, set, text string) error {
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return err
	}
	cmd := nl.IPSET_CMD_DEL
	if add {
		cmd = nl.IPSET_CMD_ADD
	}
	req := nl.NewNetlinkRequest(cmd|(unix.NFNL_SUBSYS_IPSET<<8), unix.NLM_F_ACK)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_INET, Version: nl.NFNETLINK_V0})
	req.AddData(nl.NewRtAttr(nl.IPSET_ATTR_PROTOCOL, nl.Uint8Attr(nl.IPSET_PROTOCOL)))
	req.AddData(nl.NewRtAttr(nl.IPSET_ATTR_SETNAME, nl.ZeroTerminated(set)))
	data := nl.NewRtAttr(nl.IPSET_ATTR_DATA|int(nl.NLA_F_NESTED), nil)
	data.AddChild(nl.NewRtAttr(nl.IPSET_ATTR_PORT|int(nl.NLA_F_NET_BYTEORDER), []byte{byte(port >> 8), byte(port)}))
	data.AddChild(&nl.Uint32Attribute{Type: nl.IPSET_ATTR_LINENO | nl.NLA_F_NET_BYTEORDER})
	req.AddData(data)
	_, err = req.Execute(unix.NETLINK_NETFILTER, 0)
	return err
}

func parseEntry(text string) (*netlink.IPSetEntry, error) {
	e := &netlink.IPSetEntry{}
	parts := strings.Split(text, ",")
	if e.IP = net.ParseIP(parts[0]); e.IP == nil {
		return nil, fmt.Errorf("%q is no address", parts[0])
	}
	if len(parts) > 1 {
		name, number, _ := strings.Cut(parts[1], ":")
		protocol := uint8(protocolNumber(name))
		e.Protocol = &protocol
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return nil, err
		}
		port := uint16(n)
		e.Port = &port
	}
	if len(parts) > 2 {
		ip, bits, ok := strings.Cut(parts[2], "/")
		e.IP2 = net.ParseIP(ip)
		if ok {
			n, err := strconv.ParseUint(bits, 10, 8)
			if err != nil {
				return nil, err
			}
			e.CIDR2 = uint8(n)
		}
	}
	return e, nil
}
