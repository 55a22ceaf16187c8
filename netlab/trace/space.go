package trace

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/netlab/netns"
)

// Space is a network namespace that packets may pass.
type Space struct {
	Name string `json:"name"` // "node-1", "pod/default/web", "gateway"
	Path string `json:"-"`    // its nsfs file
	Node string `json:"node,omitempty"`
	Pod  string `json:"pod,omitempty"` // namespace/name
}

// Link is a link of a space as far as packets are concerned.
type Link struct {
	Index   int      `json:"index"`
	Name    string   `json:"name"`
	Kind    string   `json:"kind"`
	Up      bool     `json:"up"`      // it is turned on
	Carrier bool     `json:"carrier"` // and so is its other end
	MTU     int      `json:"mtu"`
	MAC     string   `json:"mac,omitempty"`
	Master  string   `json:"master,omitempty"` // the bridge whose port it is
	Alias   string   `json:"alias,omitempty"`
	VNI     int      `json:"vni,omitempty"`
	Local   string   `json:"local,omitempty"` // where packets around others come from, of a VXLAN link
	Addrs   []string `json:"addrs,omitempty"` // with their prefixes
	// PeerSpace and Peer are a veth's other end, and the card that a macvlan or
	// ipvlan shares, as far as they are known.
	PeerSpace string `json:"peerSpace,omitempty"`
	Peer      string `json:"peer,omitempty"`

	peerIndex, peerID int
}

// unwraps tells whether a VXLAN link takes packets with this number out of those
// to an address: links of IPv4 and IPv6 may have the same number.
func (l *Link) unwraps(vni int, to netip.Addr) bool {
	local := addrIn(l.Local)
	return l.Kind == "vxlan" && l.VNI == vni && (!local.IsValid() || local.Is4() == to.Is4())
}

// shares tells whether a link uses the card of another one.
func (l *Link) shares() bool { return l.Kind == modeMacvlan || l.Kind == modeIpvlan }

// space is a Space that is open.
type space struct {
	Space
	ns    *os.File
	nl    *netlink.Handle
	route *conn               // questions about routes and neighbours
	nf    *conn               // and about rules and connections
	tap   int                 // -1: none
	hears uint16              // the protocol that the tap sees
	nsid  int                 // by which the listener knows it
	six   bool                // it speaks IPv6
	names map[string]*os.File // lists of tables of the legacy kind, by family
	links []Link
	rules *Ruleset
	// traced says that it has the table of traces; of a pod, as its rules were at
	// tracedGen.
	traced    bool
	tracedGen uint32
	anchored  []string       // the families that then had rules of the legacy kind
	peers     map[int]string // spaces by the numbers that they have here
}

func openSpace(s Space) (*space, error) {
	ns, err := netns.Open(s.Path)
	if err != nil {
		return nil, err
	}
	o := &space{Space: s, ns: ns, tap: -1, nsid: -1, names: map[string]*os.File{}}
	off, err := o.sysctl("net.ipv6.conf.default.disable_ipv6")
	o.six = err == nil && off == "0"
	if err = o.openLegacy(); err == nil {
		o.route, err = dial(ns, unix.NETLINK_ROUTE)
	}
	if err == nil {
		o.nf, err = dial(ns, unix.NETLINK_NETFILTER)
	}
	if err == nil {
		err = netns.DoFile(ns, func() error {
			o.nl, err = netlink.NewHandle(unix.NETLINK_ROUTE)
			return err
		})
	}
	if err != nil {
		o.close()
		return nil, fmt.Errorf("open %s: %w", s.Name, err)
	}
	return o, nil
}

func (s *space) close() {
	if s.tap >= 0 {
		unix.Close(s.tap)
	}
	for _, f := range s.names {
		f.Close()
	}
	if s.route != nil {
		s.route.close()
	}
	if s.nf != nil {
		s.nf.close()
	}
	if s.nl != nil {
		s.nl.Close()
	}
	s.ns.Close()
}

// look reads the space's links anew.
func (s *space) look() error {
	var list []netlink.Link
	var addrs []netlink.Addr
	err := retry(func() (err error) { list, err = s.nl.LinkList(); return err })
	if err == nil {
		err = retry(func() (err error) { addrs, err = s.nl.AddrList(nil, unix.AF_UNSPEC); return err })
	}
	if err != nil {
		return fmt.Errorf("links of %s: %w", s.Name, err)
	}
	// Those of IPv4 come first.
	slices.SortStableFunc(addrs, func(x, y netlink.Addr) int { return cmp.Compare(addrOf(x.IP).BitLen(), addrOf(y.IP).BitLen()) })
	names := map[int]string{}
	for _, l := range list {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	s.links, s.peers = nil, nil
	for _, l := range list {
		a := l.Attrs()
		seen := Link{Index: a.Index, Name: a.Name, Kind: l.Type(), Up: a.Flags&net.FlagUp != 0, Carrier: a.OperState != netlink.OperLowerLayerDown && a.OperState != netlink.OperDown,
			MTU: a.MTU, MAC: a.HardwareAddr.String(), Master: names[a.MasterIndex], Alias: a.Alias, peerID: -1}
		if v, ok := l.(*netlink.Vxlan); ok {
			seen.VNI = v.VxlanId
			if a := addrOf(v.SrcAddr); a.IsValid() {
				seen.Local = a.String()
			}
		}
		if seen.Kind == "veth" || seen.shares() {
			seen.peerIndex, seen.peerID = a.ParentIndex, a.NetNsID
		}
		for _, x := range addrs {
			if x.LinkIndex == a.Index {
				seen.Addrs = append(seen.Addrs, x.IPNet.String())
			}
		}
		s.links = append(s.links, seen)
	}
	return nil
}

func retry(f func() error) error {
	err := f()
	for range 20 {
		if !errors.Is(err, netlink.ErrDumpInterrupted) && !errors.Is(err, unix.EINTR) {
			break
		}
		err = f()
	}
	return err
}

func (s *space) link(index int) *Link {
	i := slices.IndexFunc(s.links, func(l Link) bool { return l.Index == index })
	if i < 0 {
		return nil
	}
	return &s.links[i]
}

// idOf is the number that other has inside s, which is made if need be.
func (s *space) idOf(other *space) (int, error) {
	id, err := s.nl.GetNetNsIdByFd(int(other.ns.Fd()))
	if err == nil && id >= 0 {
		return id, nil
	}
	if err := s.nl.SetNetNsIdByFd(int(other.ns.Fd()), -1); err != nil && !errors.Is(err, unix.EEXIST) {
		return -1, err
	}
	return s.nl.GetNetNsIdByFd(int(other.ns.Fd()))
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// owner tells whether one of a space's links has an address.
func owner(links []Link, a netip.Addr) bool {
	return a.IsLoopback() || slices.ContainsFunc(links, func(l Link) bool {
		return slices.ContainsFunc(l.Addrs, func(s string) bool { return parsePrefix(s).Addr() == a })
	})
}
