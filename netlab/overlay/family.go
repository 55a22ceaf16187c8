package overlay

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/klab-project/klab/netlab/link"
)

// family is a node's part in the overlay for one family of addresses: its
// backends of it, of which one is in use.
type family struct {
	Place
	node, dev string
	net       *link.Net
	hands     Hands

	backends []Backend
	now      Backend               // nil: none
	names    map[netip.Addr]string // of nodes that had a subnet, by its first address
}

func (m *Manager) family(at Place, backends ...Backend) *family {
	return &family{Place: at, node: m.Name, dev: m.Dev, net: m.Net, hands: m.Hands, backends: backends, names: map[netip.Addr]string{}}
}

// use makes a backend the one in use, beside the old one. If it cannot be made,
// the old one stays.
func (f *family) use(ctx context.Context, kind, was string) error {
	if f.now != nil && f.now.Type() == kind {
		return nil
	}
	i := slices.IndexFunc(f.backends, func(b Backend) bool { return b.Type() == kind })
	if i < 0 {
		return fmt.Errorf("overlay: there is no backend %q", kind)
	}
	if err := f.address(ctx); err != nil {
		return err
	}
	b := f.backends[i]
	if err := f.hands.Up(ctx, b, was); err != nil {
		if was == kind {
			return err
		}
		return errors.Join(err, b.Down(ctx, f.net))
	}
	f.now = b
	return nil
}

// back undoes use: before is the backend that was in use, or nil. What an
// earlier process left of the same stays.
func (f *family) back(ctx context.Context, before Backend, was string) error {
	b := f.now
	if f.now = before; b == before || b.Type() == was {
		return nil
	}
	return b.Down(ctx, f.net)
}

// sync makes the kernel lead to the nodes that have leases.
func (f *family) sync(ctx context.Context, leases []Lease) ([]Conflict, error) {
	good, bad := Judge(leases, f.Network, f.Underlay)
	peers := f.peers(good)
	if err := f.uplink(ctx); err != nil {
		return bad, err
	}
	var others []Peer // that use another backend: what leads to them stays
	for _, b := range f.backends {
		if b != f.now {
			others = append(others, peers[b.Type()]...)
		}
	}
	if err := f.now.Up(ctx, f.net); err != nil {
		return bad, err
	}
	wait, err := Sync(ctx, f.net, f.now, named{f.hands, f.names}, peers[f.now.Type()], others)
	errs := []error{err}
	for _, b := range f.backends {
		if b != f.now {
			errs = append(errs, f.leave(ctx, b, peers[b.Type()], wait))
		}
	}
	return bad, errors.Join(errs...)
}

// peers are the other nodes by their backends.
func (f *family) peers(good []Lease) map[string][]Peer {
	of := map[string][]Peer{}
	for _, l := range good {
		if l.Node != f.node && l.claim() {
			of[l.BackendType] = append(of[l.BackendType], l.Peer())
			f.names[l.Subnet.Masked().Addr()] = l.Node
		}
	}
	return of
}

// leave takes away what is left of a backend that is not in use: all but what
// leads to users of it, and to those to whom the new one does not lead yet.
func (f *family) leave(ctx context.Context, b Backend, users, wait []Peer) error {
	there, err := b.Present(f.net)
	if err != nil || !there {
		return err
	}
	if len(users)+len(wait) == 0 {
		return f.hands.Down(ctx, b, f.now.Type())
	}
	_, err = Sync(ctx, f.net, b, named{f.hands, f.names}, users, wait)
	return err
}

// uplink looks after what the node's link to the others needs, which the
// kernel drops when somebody switches it off: the default route, and of IPv6
// the node's own address too.
func (f *family) uplink(ctx context.Context) error {
	if !f.Gateway.IsValid() {
		return nil
	}
	everywhere := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if f.IP.Is6() {
		everywhere = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	if err := f.address(ctx); err != nil {
		return err
	}
	return f.net.Route(ctx, link.Route{Dst: everywhere, Via: f.Gateway, Dev: f.dev})
}

// address gives the link the node's address of IPv6 if it has lost it. A backend
// that is to begin may have to listen there.
func (f *family) address(ctx context.Context) error {
	if !f.IP.Is6() || !f.Gateway.IsValid() {
		return nil
	}
	return f.net.Addr(ctx, f.dev, netip.PrefixFrom(f.IP, f.Underlay.Bits()))
}

// close ends what lives in this process.
func (f *family) close() error {
	var errs []error
	for _, b := range f.backends {
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
