package overlay

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/klab-project/klab/netlab/link"
)

// Node is the node whose overlay it is.
type Node struct {
	Name     string
	IP       netip.Addr   // in the underlay
	Subnet   netip.Prefix // of its pods
	Network  netip.Prefix // of all pods
	Underlay netip.Prefix
	Gateway  netip.Addr // of its default route; invalid: none is kept
	MTU      int        // of the underlay
	Dev      string     // in the underlay: eth0
}

// Manager keeps one node's overlay. Its methods must not run at the same time,
// except [Manager.Links] and [Manager.Counts].
type Manager struct {
	Node
	Net   *link.Net
	Hands Hands // nil: [Kernel]

	backends []Backend
	now      Backend
	names    map[netip.Addr]string // of nodes that had a subnet, by its first address
}

// NewManager returns a manager that uses no backend yet. News is called when
// there is a reason to Sync again: something was learned.
func NewManager(node Node, n *link.Net, hands Hands, news func()) *Manager {
	if node.Dev == "" {
		node.Dev = "eth0"
	}
	m := &Manager{Node: node, Net: n, Hands: hands, names: map[netip.Addr]string{}}
	if m.Hands == nil {
		m.Hands = Kernel{n}
	}
	m.backends = []Backend{
		VTEP{IP: node.IP, Subnet: node.Subnet, Dev: node.Dev, MTU: node.MTU - vxlanOverhead},
		Gateway{Dev: node.Dev, IP: node.IP, Network: node.Network},
		&Tunnel{IP: node.IP, Subnet: node.Subnet, Network: node.Network, MTU: node.MTU - udpOverhead},
		&Router{Dev: node.Dev, IP: node.IP, Subnet: node.Subnet, Network: node.Network, News: news},
	}
	return m
}

// Type is the backend in use; empty if there is none.
func (m *Manager) Type() string {
	if m.now == nil {
		return ""
	}
	return m.now.Type()
}

func (m *Manager) backend(kind string) Backend {
	i := slices.IndexFunc(m.backends, func(b Backend) bool { return b.Type() == kind })
	if i < 0 {
		return nil
	}
	return m.backends[i]
}

// Use makes a backend the one in use; was is the one that was before, as far
// as the manager cannot know. If it cannot be made, the old one stays. What
// the old one leads to is taken away by [Manager.Sync], when the new one leads
// there.
func (m *Manager) Use(ctx context.Context, kind, was string) error {
	if m.now != nil {
		was = m.now.Type()
		if was == kind {
			return nil
		}
	}
	b := m.backend(kind)
	if b == nil {
		return fmt.Errorf("overlay: there is no backend %q", kind)
	}
	if err := m.Hands.Up(ctx, b, was); err != nil {
		if was == kind {
			return err
		}
		return errors.Join(err, b.Down(ctx, m.Net))
	}
	m.now = b
	return nil
}

// Lease is what others have to know about this node; none before [Manager.Use].
func (m *Manager) Lease() Lease {
	return Lease{Node: m.Name, Subnet: m.Subnet, PublicIP: m.IP, BackendType: m.now.Type(), BackendData: m.now.Data()}
}

// ErrNoLink is the error while the node's link to the others is down: the
// kernel takes no routes. When it is up again, Sync again.
var ErrNoLink = errors.New("the link to the other nodes is down")

// Sync makes this node's kernel lead to the nodes that have leases, this one's
// among them or not, and to nobody else. It returns the leases that cannot be
// honoured.
func (m *Manager) Sync(ctx context.Context, leases []Lease) ([]Conflict, error) {
	if m.now == nil {
		return nil, errors.New("overlay: no backend is in use")
	}
	good, bad := Judge(leases, m.Network, m.Underlay)
	peers := m.peers(good)
	if err := m.uplink(ctx); err != nil {
		return bad, err
	}
	var others []Peer // that use another backend: what leads to them stays
	for _, b := range m.backends {
		if b != m.now {
			others = append(others, peers[b.Type()]...)
		}
	}
	if err := m.now.Up(ctx, m.Net); err != nil {
		return bad, err
	}
	wait, err := Sync(ctx, m.Net, m.now, named{m.Hands, m.names}, peers[m.Type()], others)
	errs := []error{err}
	for _, b := range m.backends {
		if b != m.now {
			errs = append(errs, m.leave(ctx, b, peers[b.Type()], wait))
		}
	}
	return bad, errors.Join(errs...)
}

// peers are the other nodes by their backends.
func (m *Manager) peers(good []Lease) map[string][]Peer {
	of := map[string][]Peer{}
	for _, l := range good {
		if l.Node != m.Name && l.claim() {
			of[l.BackendType] = append(of[l.BackendType], l.Peer())
			m.names[l.Subnet.Masked().Addr()] = l.Node
		}
	}
	return of
}

// leave takes away what is left of a backend that is not in use: all but what
// leads to users of it, and to those to whom the new one does not lead yet.
func (m *Manager) leave(ctx context.Context, b Backend, users, wait []Peer) error {
	there, err := b.Present(m.Net)
	if err != nil || !there {
		return err
	}
	if len(users)+len(wait) == 0 {
		return m.Hands.Down(ctx, b, m.Type())
	}
	_, err = Sync(ctx, m.Net, b, named{m.Hands, m.names}, users, wait)
	return err
}

// uplink looks after what the node's link to the others needs, which the
// kernel drops when somebody switches it off.
func (m *Manager) uplink(ctx context.Context) error {
	l, ok, err := m.Net.Link(m.Dev)
	if err != nil {
		return err
	}
	if !ok || !l.Up {
		return ErrNoLink
	}
	if !m.Gateway.IsValid() {
		return nil
	}
	return m.Net.Route(ctx, link.Route{Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Via: m.Gateway, Dev: m.Dev})
}

// Links are the names of the links without which packets do not get to other
// nodes: who watches one of them go or come should Sync.
func (m *Manager) Links() []string { return []string{m.Dev, "flannel.1", "flannel0"} }

// Counts are what the forwarder has carried; nil if none runs.
func (m *Manager) Counts() *Counts {
	for _, b := range m.backends {
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
	var errs []error
	for _, b := range m.backends {
		if c, ok := b.(interface{ Close() error }); ok {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

// named gives peers that are known by their entries only the names of the
// nodes that had them.
type named struct {
	Hands
	names map[netip.Addr]string
}

func (h named) Remove(ctx context.Context, b Backend, p Peer) error {
	if p.Node == "" && p.Subnet.IsValid() {
		p.Node = h.names[p.Subnet.Addr()]
	}
	return h.Hands.Remove(ctx, b, p)
}
