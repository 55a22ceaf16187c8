package ingress

import (
	"slices"
	"sync"
	"time"
)

// The ways in which an Ingress can have requests spread, by the annotation
// [BalanceAnnotation]; the first is the usual one.
const (
	RoundRobin = "round_robin"
	LeastConn  = "least_conn"
)

// BalanceAnnotation chooses how the requests of an Ingress are spread.
const BalanceAnnotation = "klab.local/load-balance"

// asideFor is how long an endpoint that could not be reached is tried only after
// the others, as nginx's fail_timeout.
const asideFor = 10 * time.Second

// balance remembers of each Service whose turn it is, how many requests each
// endpoint has, and which could not be reached. It outlives tables.
type balance struct {
	now func() time.Time

	mu    sync.Mutex
	turns map[string]uint64    // by Service
	busy  map[string]int       // by endpoint
	aside map[string]time.Time // by endpoint: until then
}

func newBalance() *balance {
	return &balance{now: time.Now, turns: map[string]uint64{}, busy: map[string]int{}, aside: map[string]time.Time{}}
}

// order is the order in which the endpoints of a route are tried.
func (b *balance) order(r *Route) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	turn := int(b.turns[r.Service] % uint64(len(r.Endpoints)))
	b.turns[r.Service]++
	list := slices.Concat(r.Endpoints[turn:], r.Endpoints[:turn])
	if r.Balance == LeastConn {
		slices.SortStableFunc(list, func(x, y string) int { return b.busy[x] - b.busy[y] })
	}
	now := b.now()
	slices.SortStableFunc(list, func(x, y string) int { return rank(b.aside[x].After(now)) - rank(b.aside[y].After(now)) })
	return list
}

func rank(aside bool) int {
	if aside {
		return 1
	}
	return 0
}

// begin and end count a request of an endpoint.
func (b *balance) begin(endpoint string) {
	b.mu.Lock()
	b.busy[endpoint]++
	b.mu.Unlock()
}

func (b *balance) end(endpoint string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.busy[endpoint]--; b.busy[endpoint] <= 0 {
		delete(b.busy, endpoint)
	}
}

// failed puts an endpoint aside for a while.
func (b *balance) failed(endpoint string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.aside[endpoint] = b.now().Add(asideFor)
}

// keep forgets Services and endpoints that no table has any more.
func (b *balance) keep(t *Table) {
	services, endpoints := map[string]bool{}, map[string]bool{}
	for _, r := range t.routes() {
		services[r.Service] = true
		for _, e := range r.Endpoints {
			endpoints[e] = true
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for s := range b.turns {
		if !services[s] {
			delete(b.turns, s)
		}
	}
	for e := range b.aside {
		if !endpoints[e] {
			delete(b.aside, e)
		}
	}
}
