package balancer

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/netns"
)

// Frontend is an address whose packets are spread over nodes. Check is the port
// at which a node says whether it can take them.
type Frontend struct {
	Namespace, Name string // of the Service
	Addr            netip.Addr
	Check           int
}

// Node may take packets of its address's family. One with both families is in
// a list twice.
type Node struct {
	Name string
	IP   netip.Addr
}

// check is what is asked: a node at a port.
type check struct {
	ip   netip.Addr
	port int
}

// Hands is what a Balancer needs done. See [Steps].
type Hands interface {
	// Spread leads packets of f to nodes; none: nobody takes them.
	Spread(ctx context.Context, f Frontend, nodes []Node) error
	// Remove forgets an address.
	Remove(ctx context.Context, addr netip.Addr) error
	// Kept are the addresses that an earlier Balancer left.
	Kept() ([]netip.Addr, error)
}

// Balancer keeps the routes of a router.
type Balancer struct {
	Hands Hands
	// Path is the router's namespace: checks go out from there.
	Path string
	// Every is how often nodes are asked; zero means one second.
	Every time.Duration

	mu        sync.Mutex
	frontends []Frontend
	nodes     []Node
	changed   chan struct{} // has the next round at once

	up   map[check]bool          // what nodes answered last
	have map[netip.Addr][]string // what routes there are, as names of nodes
}

// New returns a Balancer without any address.
func New(hands Hands, path string) *Balancer {
	return &Balancer{Hands: hands, Path: path, changed: make(chan struct{}, 1), up: map[check]bool{}}
}

// Set says what addresses there are, and which nodes.
func (b *Balancer) Set(frontends []Frontend, nodes []Node) {
	b.mu.Lock()
	b.frontends, b.nodes = slices.Clone(frontends), slices.Clone(nodes)
	b.mu.Unlock()
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

// Run asks the nodes and keeps the routes until ctx ends. The routes stay.
func (b *Balancer) Run(ctx context.Context, failed func(error)) {
	every := b.Every
	if every == 0 {
		every = time.Second
	}
	tick := time.NewTicker(every) // packets do not stand still with the lab
	defer tick.Stop()
	known := false // Set has been called: before that nothing is known to be too much
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.changed:
			known = true
		case <-tick.C:
		}
		if known {
			if err := b.round(ctx); err != nil && ctx.Err() == nil {
				failed(err)
			}
		}
	}
}

// round asks all nodes once, and changes what their answers change.
func (b *Balancer) round(ctx context.Context) error {
	b.mu.Lock()
	frontends, nodes := b.frontends, b.nodes
	b.mu.Unlock()
	if b.have == nil {
		b.have = map[netip.Addr][]string{}
		kept, err := b.Hands.Kept()
		if err != nil {
			b.have = nil
			return err
		}
		for _, a := range kept {
			b.have[a] = []string{"of an earlier one"}
		}
	}
	b.up = b.ask(ctx, frontends, nodes)
	want := Routes(frontends, nodes, func(n Node, port int) bool { return b.up[check{n.IP, port}] })
	var errs []error
	for _, r := range want {
		names := names(r.Nodes)
		if have, ok := b.have[r.Addr]; ok && slices.Equal(have, names) {
			continue
		}
		if err := b.Hands.Spread(ctx, r.Frontend, r.Nodes); err != nil {
			errs = append(errs, err)
			continue
		}
		b.have[r.Addr] = names
	}
	for a := range b.have {
		if !slices.ContainsFunc(want, func(r Route) bool { return r.Addr == a }) {
			if err := b.Hands.Remove(ctx, a); err != nil {
				errs = append(errs, err)
				continue
			}
			delete(b.have, a)
		}
	}
	return errors.Join(errs...)
}

func names(nodes []Node) []string {
	list := make([]string, 0, len(nodes))
	for _, n := range nodes {
		list = append(list, n.Name)
	}
	return list
}

// Route is an address with the nodes that take its packets.
type Route struct {
	Frontend
	Nodes []Node
}

// Routes are the nodes that can take packets, for each address. Those of one
// address are of its family, in the order of their own addresses.
func Routes(frontends []Frontend, nodes []Node, up func(n Node, port int) bool) (list []Route) {
	for _, f := range frontends {
		r := Route{Frontend: f}
		for _, n := range nodes {
			if n.IP.Is6() == f.Addr.Is6() && up(n, f.Check) {
				r.Nodes = append(r.Nodes, n)
			}
		}
		slices.SortFunc(r.Nodes, func(a, b Node) int { return a.IP.Compare(b.IP) })
		list = append(list, r)
	}
	return list
}

// patience is how long a node may take to answer.
const patience = time.Second

// ask asks every node at every port that matters, all at once.
func (b *Balancer) ask(ctx context.Context, frontends []Frontend, nodes []Node) map[check]bool {
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DialContext: netns.Dialer(b.Path), DisableKeepAlives: true}}
	all := map[check]bool{}
	for _, f := range frontends {
		for _, n := range nodes {
			if n.IP.Is6() == f.Addr.Is6() {
				all[check{n.IP, f.Check}] = false
			}
		}
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, c := range slices.Collect(maps.Keys(all)) { // answers come meanwhile
		wg.Go(func() {
			ok := healthy(ctx, client, c)
			mu.Lock()
			defer mu.Unlock()
			all[c] = ok
		})
	}
	wg.Wait()
	return all
}

func healthy(ctx context.Context, client *http.Client, c check) bool {
	url := "http://" + netip.AddrPortFrom(c.ip, uint16(c.port)).String() + "/healthz"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	res, err := client.Do(req)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// Router is the hands of a router: it has the routes.
type Router struct {
	Net   *link.Net
	Dev   string         // towards the nodes
	Pools []netip.Prefix // of the addresses
}

// Prepare makes the router spread flows by their ports too, and tells whoever
// sends to an address of a pool that nobody has that it is unreachable.
func (r Router) Prepare(ctx context.Context) error {
	for _, pool := range r.Pools {
		family := "ipv4"
		if pool.Addr().Is6() {
			family = "ipv6"
		}
		if err := r.Net.Sysctl(ctx, link.Sysctl{Key: "net." + family + ".fib_multipath_hash_policy", Value: "1"}); err != nil {
			return err
		}
		if err := r.Net.Spread(ctx, link.Paths{Dst: pool}); err != nil {
			return err
		}
	}
	return nil
}

// Spread implements Hands.
func (r Router) Spread(ctx context.Context, f Frontend, nodes []Node) error {
	p := link.Paths{Dst: netip.PrefixFrom(f.Addr, f.Addr.BitLen()), Dev: r.Dev}
	for _, n := range nodes {
		p.Via = append(p.Via, n.IP)
	}
	return r.Net.Spread(ctx, p)
}

// Remove implements Hands.
func (r Router) Remove(ctx context.Context, addr netip.Addr) error {
	return r.Net.Unspread(ctx, netip.PrefixFrom(addr, addr.BitLen()))
}

// Kept implements Hands.
func (r Router) Kept() (list []netip.Addr, err error) {
	for _, pool := range r.Pools {
		all, err := r.Net.SpreadTo(pool)
		if err != nil {
			return nil, err
		}
		for _, p := range all {
			list = append(list, p.Addr())
		}
	}
	return list, nil
}
