package overlay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/klab-project/klab/netlab/link"
)

// Router is the backend bgp, the way of Calico: each node is a router with a
// BGP speaker of its own, all have sessions with all (a full mesh of iBGP), each
// announces the subnet of its pods, and what is learned becomes routes of
// proto bgp. There is nothing around the packets. It is of the family of its IP:
// a node with both has a speaker for each, as Calico has bird and bird6, and
// that of IPv6 has its sessions over IPv6 and announces subnets of IPv6 there.
// (RFC 4760)
//
// The speaker lives in this process, which must be in the node's network
// namespace. When it dies without a word, the others keep its routes for a
// while (graceful restart, RFC 4724), and so does the kernel here.
//
// A Router has a state and is not copied.
type Router struct {
	Dev     string       // the uplink: eth0
	IP      netip.Addr   // of the uplink
	ID      netip.Addr   // the router's id, an IPv4 address; invalid: IP
	Subnet  netip.Prefix // of this node's pods
	Network netip.Prefix // of all pods
	ASN     uint32       // of all nodes; 0: 64512, the first private one
	// News is called when something was learned, or is no longer so.
	News func()

	mu sync.Mutex
	sp *speaker // nil: down
}

const protoBGP = "bgp"

func (r *Router) dev() string { return cmp.Or(r.Dev, "eth0") }
func (r *Router) asn() uint32 { return cmp.Or(r.ASN, 64512) }

func (r *Router) id() netip.Addr {
	if r.ID.IsValid() {
		return r.ID
	}
	return r.IP
}

func (r *Router) Type() string { return BGP }

func (r *Router) Six() bool { return r.IP.Is6() }

// Data is the number of the autonomous system.
func (r *Router) Data() string { return fmt.Sprintf(`{"ASN":%d}`, r.asn()) }

// Up starts the speaker, if it does not run.
func (r *Router) Up(ctx context.Context, _ *link.Net) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sp != nil {
		return nil
	}
	sp, err := newSpeaker(ctx, r.IP, r.id(), r.asn(), r.Subnet, r.News)
	if err != nil {
		return fmt.Errorf("overlay: start the BGP speaker of %s: %w", r.IP, err)
	}
	r.sp = sp
	return nil
}

func (r *Router) running() *speaker {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sp
}

func (r *Router) routes(n *link.Net) ([]link.Route, error) {
	return podRoutes(n, r.dev(), r.Network, protoBGP)
}

func (r *Router) Present(n *link.Net) (bool, error) {
	if r.running() != nil {
		return true, nil
	}
	have, err := r.routes(n)
	return len(have) > 0, err
}

// Plan compares sessions with peers, and the kernel's routes with what was
// learned. A route of an earlier life stays until it is known better.
func (r *Router) Plan(n *link.Net, want []Peer) (Plan, error) {
	sp := r.running()
	have, err := r.routes(n)
	if err != nil || sp == nil {
		return Plan{}, err
	}
	return r.diff(have, sp.state(), want), nil
}

func (r *Router) diff(have []link.Route, now heard, want []Peer) (plan Plan) {
	keep, wanted := map[link.Route]bool{}, map[netip.Addr]bool{}
	for _, p := range want {
		if p.IP == r.IP || !p.in(r.IP) {
			continue
		}
		wanted[p.IP] = true
		if _, ok := now.sessions[p.IP]; !ok {
			plan.Add = append(plan.Add, p)
		}
		subnet, route := p.Subnet.Masked(), r.route(p)
		via, learned := now.routes[subnet]
		there := slices.Contains(have, route)
		keep[route] = learned && via == p.IP || there && !learned && !now.withdrawn[subnet]
		switch {
		case learned && via == p.IP && !there:
			p.Learned = true
			plan.Add = append(plan.Add, p)
		case !keep[route]:
			plan.Wait = append(plan.Wait, p)
		}
	}
	for _, h := range have {
		if !keep[h] {
			plan.Remove = append(plan.Remove, Peer{IP: h.Via, Subnet: h.Dst, Learned: true})
		}
	}
	for ip, subnet := range now.sessions {
		if !wanted[ip] {
			plan.Remove = append(plan.Remove, Peer{IP: ip, Subnet: subnet})
		}
	}
	return plan
}

func (r *Router) route(p Peer) link.Route {
	return link.Route{Dst: p.Subnet.Masked(), Via: p.IP, Dev: r.dev(), Proto: protoBGP}
}

// Add begins a session with a peer, or puts in a route that was learned.
func (r *Router) Add(ctx context.Context, n *link.Net, p Peer) (err error) {
	sp := r.running()
	switch {
	case p.Learned:
		err = n.Route(ctx, r.route(p))
	case sp == nil:
		err = errors.New("the BGP speaker does not run")
	default:
		var have []link.Route
		if have, err = r.routes(n); err == nil {
			err = sp.add(ctx, p.IP, p.Subnet.Masked(), slices.Contains(have, r.route(p)))
		}
	}
	if err != nil {
		return fmt.Errorf("overlay to node %s: %w", p.Node, err)
	}
	return nil
}

// Remove ends a session, or takes a route out, unless it is somebody else's by now.
func (r *Router) Remove(ctx context.Context, n *link.Net, p Peer) error {
	var err error
	if p.Learned {
		var have []link.Route
		have, err = r.routes(n)
		if err == nil && slices.Contains(have, r.route(p)) {
			err = n.DelRoute(ctx, r.route(p))
		}
	} else if sp := r.running(); sp != nil {
		err = sp.remove(ctx, p.IP)
	}
	if err != nil {
		return fmt.Errorf("overlay to node %s: %w", p.Node, err)
	}
	return nil
}

// Down ends the speaker, which tells all peers, and removes what was learned.
func (r *Router) Down(ctx context.Context, n *link.Net) error {
	return errors.Join(r.stop(false), dropRoutes(ctx, n, r.dev(), r.Network, protoBGP))
}

// Close ends the speaker without a word: its successor in another process goes on.
func (r *Router) Close() error { return r.stop(true) }

func (r *Router) stop(silent bool) error {
	r.mu.Lock()
	sp := r.sp
	r.sp = nil
	r.mu.Unlock()
	if sp == nil {
		return nil
	}
	return sp.stop(silent)
}
