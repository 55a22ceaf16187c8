package topology

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"

	"github.com/klab-project/klab/netlab/link"
)

// Config is what a lab's network follows from. The zero value of every field
// but Dir stands for the value in its comment.
type Config struct {
	// Dir holds the pins of the lab's namespaces, and is the lab's own.
	Dir string
	// Underlay is the nodes' network: 172.30.0.0/24. Its address 1 is the
	// gateway, 2 the control namespace, 10+n node n.
	Underlay netip.Prefix
	// Outside is the network behind the gateway: 192.0.2.0/24. Its address 1 is
	// the gateway, 10 the client host.
	Outside netip.Prefix
	// Pods is the network of all pods: 10.244.0.0/16. Node n has subnet n of 24
	// bits of it.
	Pods netip.Prefix
	// DualStack gives all of it addresses of IPv6 too, with the same numbers:
	// the networks are fd00:172:30::/64, 2001:db8:192::/64 and fd00:10:244::/48,
	// of which node n has subnet n of 64 bits.
	DualStack bool
	// MTU of the underlay: 1500.
	MTU int
	// VXLANPort is the UDP port that nodes exempt from connection tracking: 8472.
	VXLANPort int
	// By is on whose behalf the lab is built.
	By link.By
}

func (c Config) withDefaults() (Config, error) {
	def := func(p *netip.Prefix, s string) {
		if !p.IsValid() {
			*p = netip.MustParsePrefix(s)
		}
		*p = p.Masked()
	}
	def(&c.Underlay, "172.30.0.0/24")
	def(&c.Outside, "192.0.2.0/24")
	def(&c.Pods, "10.244.0.0/16")
	if c.MTU == 0 {
		c.MTU = 1500
	}
	if c.VXLANPort == 0 {
		c.VXLANPort = 8472
	}
	if c.By.Actor == "" {
		c.By.Actor = "klab"
	}
	if !filepath.IsAbs(c.Dir) {
		return c, fmt.Errorf("topology: directory %q is not absolute", c.Dir)
	}
	return c, c.check()
}

func (c Config) check() error {
	nets := []struct {
		name string
		p    netip.Prefix
		most int // the longest prefix that has room
	}{{"underlay", c.Underlay, 28}, {"outside", c.Outside, 28}, {"pods", c.Pods, 23}}
	for i, a := range nets {
		if !a.p.Addr().Is4() {
			return fmt.Errorf("topology: the %s network %s is not IPv4", a.name, a.p)
		}
		if a.p.Bits() > a.most {
			return fmt.Errorf("topology: the %s network %s is too small; give it /%d or shorter", a.name, a.p, a.most)
		}
		for _, b := range nets[:i] {
			if a.p.Overlaps(b.p) {
				return fmt.Errorf("topology: the %s network %s and the %s network %s overlap; choose others", b.name, b.p, a.name, a.p)
			}
		}
	}
	return nil
}

// host is address i of a network.
func host(p netip.Prefix, i int) netip.Addr {
	b := p.Addr().As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+uint32(i))
	return netip.AddrFrom4(b)
}

func in(p netip.Prefix, a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, p.Bits()) }

// ErrNoRoom is the error for a node for which the networks have no address.
var ErrNoRoom = errors.New("no room for the node")

// NodeAddrs are the addresses that follow from a node's number.
type NodeAddrs struct {
	IP   netip.Addr   // in the underlay
	Pods netip.Prefix // its pods'
	// Of IPv6; invalid without DualStack.
	IP6   netip.Addr
	Pods6 netip.Prefix
}

// Addrs returns the addresses of node n, from 1.
func (l *Lab) Addrs(n int) (NodeAddrs, error) {
	a := NodeAddrs{IP: host(l.Underlay, 10+n)}
	if b := a.IP.As4(); n < 1 || !l.Underlay.Contains(a.IP) || !l.Underlay.Contains(a.IP.Next()) || b[3] == 255 {
		return a, fmt.Errorf("%w: node %d is not in %s", ErrNoRoom, n, l.Underlay)
	}
	a.Pods = netip.PrefixFrom(host(l.Pods, n<<8), 24)
	if !l.Pods.Contains(a.Pods.Addr()) {
		return a, fmt.Errorf("%w: %s has no subnet %d of 24 bits", ErrNoRoom, l.Pods, n)
	}
	if l.DualStack {
		a.IP6, a.Pods6 = Addrs6(n)
	}
	return a, nil
}

// The lab's fixed addresses.
func (l *Lab) GatewayIP() netip.Addr  { return host(l.Underlay, 1) }
func (l *Lab) ControlIP() netip.Addr  { return host(l.Underlay, 2) }
func (l *Lab) OutsideGW() netip.Addr  { return host(l.Outside, 1) }
func (l *Lab) ClientIP() netip.Addr   { return host(l.Outside, 10) }
func (l *Lab) pin(name string) string { return filepath.Join(l.Dir, name) }

// The paths of the lab's namespaces.
func (l *Lab) UnderlayNS() string { return l.pin("underlay") }
func (l *Lab) GatewayNS() string  { return l.pin("gateway") }
func (l *Lab) ControlNS() string  { return l.pin("control") }
func (l *Lab) OutsideNS() string  { return l.pin("outside") }
