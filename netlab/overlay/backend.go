package overlay

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"github.com/klab-project/klab/netlab/link"
)

// The backends, by the words of net-conf.json.
const (
	VXLAN  = "vxlan"
	HostGW = "host-gw"
	UDP    = "udp"
	BGP    = "bgp"
)

// Types are the backends that there are; the first is the default.
var Types = []string{VXLAN, HostGW, UDP, BGP}

// PodMTU is the MTU of pods' links. It is that of vxlan, the smallest of all
// backends, so that pods live through a change of the backend.
func PodMTU(underlay int) int { return underlay - vxlanOverhead }

// PodMTU6 is PodMTU where pods have addresses of both families: vxlan takes more
// for IPv6, and a pod's link has one MTU.
func PodMTU6(underlay int) int { return underlay - vxlanOverhead6 }

// Peer is another node: its address in the underlay, the subnet of its pods,
// and the MAC of its endpoint, which if empty is [MAC] of the subnet.
type Peer struct {
	Node   string
	IP     netip.Addr
	Subnet netip.Prefix
	MAC    string
	// Learned marks the route that a peer announced, beside the session with
	// it, where a backend has both.
	Learned bool
}

// Plan is what leads from what the kernel has to a set of peers. Peers to be
// removed are known by their entries only: Node is empty, and so may be other
// fields.
type Plan struct {
	Remove []Peer
	Add    []Peer
	// Wait are peers to which nothing leads yet, and for which nothing can be
	// done but wait: their routes have not been learned.
	Wait []Peer
}

// Backend is one way to carry packets to other nodes. All methods may be
// repeated.
type Backend interface {
	// Type is the word for it in net-conf.json.
	Type() string
	// Six tells that it carries packets of IPv6, and none of IPv4.
	Six() bool
	// Data is what other nodes have to know, in JSON.
	Data() string
	// Up makes what the node needs before it has any peer.
	Up(ctx context.Context, n *link.Net) error
	// Present tells whether the node has anything of the backend.
	Present(n *link.Net) (bool, error)
	// Plan compares what is with what is wanted.
	Plan(n *link.Net, want []Peer) (Plan, error)
	Add(ctx context.Context, n *link.Net, p Peer) error
	Remove(ctx context.Context, n *link.Net, p Peer) error
	// Down removes everything, also what an earlier process left.
	Down(ctx context.Context, n *link.Net) error
}

// Hands carry out what was decided about a backend on a node. See [Steps].
type Hands interface {
	Up(ctx context.Context, b Backend, was string) error
	Down(ctx context.Context, b Backend, now string) error
	Add(ctx context.Context, b Backend, p Peer) error
	Remove(ctx context.Context, b Backend, p Peer) error
}

// Kernel is the hands that only do it.
type Kernel struct{ Net *link.Net }

func (k Kernel) Up(ctx context.Context, b Backend, _ string) error   { return b.Up(ctx, k.Net) }
func (k Kernel) Down(ctx context.Context, b Backend, _ string) error { return b.Down(ctx, k.Net) }
func (k Kernel) Add(ctx context.Context, b Backend, p Peer) error    { return b.Add(ctx, k.Net, p) }
func (k Kernel) Remove(ctx context.Context, b Backend, p Peer) error { return b.Remove(ctx, k.Net, p) }

// Sync makes a backend lead to want and to nobody else; what leads to those of
// stay is left as it is. It returns those of want to which nothing leads yet.
// One peer that fails does not keep the others from being programmed.
func Sync(ctx context.Context, n *link.Net, b Backend, hands Hands, want, stay []Peer) ([]Peer, error) {
	plan, err := b.Plan(n, want)
	if err != nil {
		return want, err
	}
	var errs []error
	for _, p := range plan.Remove {
		if !slices.ContainsFunc(stay, p.same) {
			errs = append(errs, hands.Remove(ctx, b, p))
		}
	}
	for _, p := range plan.Add {
		errs = append(errs, hands.Add(ctx, b, p))
	}
	return plan.Wait, errors.Join(errs...)
}

// same tells whether two are the same peer, by what is known of both.
func (p Peer) same(q Peer) bool {
	if p.Subnet.IsValid() && q.Subnet.IsValid() {
		return p.Subnet.Addr() == q.Subnet.Addr()
	}
	return p.IP == q.IP
}
