package overlay

import (
	"cmp"
	"context"
	"errors"
	"net/netip"

	"github.com/klab-project/klab/netlab/link"
)

// Node is the node whose overlay it is.
type Node struct {
	Name string
	Dev  string // in the underlay: eth0
	MTU  int    // of the underlay
	Place
	// Six is its place among addresses of IPv6; the zero value: it has none.
	Six Place
}

// Place is where a node is, in one family of addresses.
type Place struct {
	IP       netip.Addr   // in the underlay
	Subnet   netip.Prefix // of its pods
	Network  netip.Prefix // of all pods
	Underlay netip.Prefix
	Gateway  netip.Addr // of its default route; invalid: none is kept
}

// Manager keeps one node's overlay. Its methods must not run at the same time,
// except [Manager.Links] and [Manager.Counts].
type Manager struct {
	Node
	Net   *link.Net
	Hands Hands // nil: [Kernel]

	kind string // the backend in use; empty: none
	four *family
	six  *family // nil: there is no IPv6
}

// NewManager returns a manager that uses no backend yet. News is called when
// there is a reason to Sync again: something was learned.
func NewManager(node Node, n *link.Net, hands Hands, news func()) *Manager {
	if node.Dev == "" {
		node.Dev = "eth0"
	}
	m := &Manager{Node: node, Net: n, Hands: hands}
	if m.Hands == nil {
		m.Hands = Kernel{n}
	}
	at := node.Place
	m.four = m.family(at,
		VTEP{IP: at.IP, Subnet: at.Subnet, Dev: node.Dev, MTU: node.MTU - vxlanOverhead},
		Gateway{Dev: node.Dev, IP: at.IP, Network: at.Network},
		&Tunnel{IP: at.IP, Subnet: at.Subnet, Network: at.Network, MTU: node.MTU - udpOverhead},
		&Router{Dev: node.Dev, IP: at.IP, Subnet: at.Subnet, Network: at.Network, News: news})
	if six := node.Six; six.IP.IsValid() {
		m.six = m.family(six,
			VTEP{IP: six.IP, Subnet: six.Subnet, Dev: node.Dev, MTU: node.MTU - vxlanOverhead6},
			Gateway{Dev: node.Dev, IP: six.IP, Network: six.Network},
			&Router{Dev: node.Dev, IP: six.IP, ID: at.IP, Subnet: six.Subnet, Network: six.Network, News: news})
	}
	return m
}

// Carrier6 is the backend that carries IPv6 while another one is in use: this
// one, but for udp, which is for IPv4 alone, host-gw.
func Carrier6(kind string) string {
	if kind == UDP {
		return HostGW
	}
	return kind
}

// Type is the backend in use; empty if there is none.
func (m *Manager) Type() string { return m.kind }

// Use makes a backend the one in use, for both families; was is the one that was
// before, as far as the manager cannot know. If it cannot be made, the old one
// stays. What the old one leads to is taken away by [Manager.Sync], when the new
// one leads there.
func (m *Manager) Use(ctx context.Context, kind, was string) error {
	if m.kind != "" {
		was = m.kind
	}
	before := m.four.now
	err := m.four.use(ctx, kind, was)
	if err == nil && m.six != nil {
		if err = m.six.use(ctx, Carrier6(kind), Carrier6(was)); err != nil {
			return errors.Join(err, m.four.back(ctx, before, was))
		}
	}
	if err == nil {
		m.kind = kind
	}
	return err
}

// Lease is what others have to know about this node; none before [Manager.Use].
func (m *Manager) Lease() Lease {
	l := Lease{Node: m.Name, Subnet: m.Subnet, PublicIP: m.IP, BackendType: m.kind, BackendData: m.four.now.Data()}
	if m.six != nil {
		l.Subnet6, l.PublicIP6, l.BackendData6 = m.Six.Subnet, m.Six.IP, m.six.now.Data()
	}
	return l
}

// ErrNoLink is the error while the node's link to the others is down: the
// kernel takes no routes. When it is up again, Sync again.
var ErrNoLink = errors.New("the link to the other nodes is down")

// Sync makes this node's kernel lead to the nodes that have leases, this one's
// among them or not, and to nobody else. It returns the leases that cannot be
// honoured, by their family.
func (m *Manager) Sync(ctx context.Context, leases []Lease) ([]Conflict, error) {
	if m.kind == "" {
		return nil, errors.New("overlay: no backend is in use")
	}
	if l, ok, err := m.Net.Link(m.Dev); err != nil || !ok || !l.Up {
		return m.conflicts(leases), cmp.Or(err, ErrNoLink)
	}
	bad, err := m.four.sync(ctx, leases)
	if m.six == nil {
		return bad, err
	}
	bad6, err6 := m.six.sync(ctx, sixOf(leases))
	return append(bad, bad6...), errors.Join(err, err6)
}

// conflicts are the leases that cannot be honoured.
func (m *Manager) conflicts(leases []Lease) []Conflict {
	_, bad := Judge(leases, m.Network, m.Underlay)
	if m.six != nil {
		_, bad6 := Judge(sixOf(leases), m.Six.Network, m.Six.Underlay)
		bad = append(bad, bad6...)
	}
	return bad
}

// sixOf are leases as those see them who lead packets of IPv6.
func sixOf(leases []Lease) (list []Lease) {
	for _, l := range leases {
		if six, ok := l.Six(); ok {
			list = append(list, six)
		}
	}
	return list
}

// Links are the names of the links without which packets do not get to other
// nodes: who watches one of them go or come should Sync.
func (m *Manager) Links() []string { return []string{m.Dev, "flannel.1", "flannel-v6.1", "flannel0"} }

// Counts are what the forwarder has carried; nil if none runs.
func (m *Manager) Counts() *Counts {
	for _, b := range m.four.backends {
		if t, ok := b.(*Tunnel); ok {
			return t.Counts()
		}
	}
	return nil
}

// Close ends what lives in this process: the forwarder, and the sessions with
// other nodes' speakers, which keep the routes for a while. What is in the
// kernel stays.
func (m *Manager) Close() error {
	err := m.four.close()
	if m.six != nil {
		err = errors.Join(err, m.six.close())
	}
	return err
}
