package cluster

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/link"
)

// seen records what a node's network is, each time that it is another than
// the last one recorded.
type seen struct {
	node string
	own  *link.Net

	mu   sync.Mutex
	last string
}

// look reads the node's links, addresses and routes, as part of the step in
// which they were changed.
func (s *seen) look(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	detail, err := s.read()
	if err != nil {
		slog.Warn("the node's links cannot be shown", "err", err)
		return
	}
	text, err := json.Marshal(detail)
	if err != nil || string(text) == s.last {
		return
	}
	s.last = string(text)
	step.Fact(ctx, step.Action{
		Actor: "kubelet", Node: s.node, Verb: step.Links,
		Object: step.Object{Resource: "nodes", Name: s.node}, Detail: detail,
	})
}

// calm is how long nothing must have changed before somebody else's change is
// looked at: a step of the node itself has looked by then, and what changes
// together is one fact.
const calm = 100 * time.Millisecond

// follow looks whenever somebody has changed the node's network, also by hand,
// until ctx ends.
func (s *seen) follow(ctx context.Context) {
	changed := make(chan struct{}, 1)
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() { s.settle(ctx, changed) })
	for ctx.Err() == nil {
		err := s.own.Watch(ctx, func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		})
		if ctx.Err() == nil {
			slog.Info("look at the node's network again", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(calm):
		}
	}
}

// settle looks each time that changes have come to an end.
func (s *seen) settle(ctx context.Context, changed <-chan struct{}) {
	var quiet <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
			quiet = time.After(calm) // the kernel's time, also while the lab's stands still
		case <-quiet:
			quiet = nil
			s.look(ctx)
		}
	}
}

func (s *seen) read() (step.LinksDetail, error) {
	var d step.LinksDetail
	links, err := s.own.Links()
	if err != nil {
		return d, err
	}
	for _, l := range links {
		n := step.NodeLink{Name: l.Name, Type: l.Kind, Up: l.Up, MAC: l.MAC, MTU: l.MTU, Master: l.Master}
		for _, a := range l.Addrs {
			n.Addresses = append(n.Addresses, a.String())
		}
		if l.Kind == "veth" && strings.Contains(l.Alias, "/") {
			n.Pod, n.Peer = l.Alias, "eth0"
		}
		d.Links = append(d.Links, n)
	}
	routes, err := s.own.RoutesOf(links)
	for _, r := range routes {
		d.Routes = append(d.Routes, nodeRoute(r))
	}
	return d, err
}

func nodeRoute(r link.Route) step.NodeRoute {
	n := step.NodeRoute{Dst: r.Dst.String(), Dev: r.Dev}
	if r.Dst.Bits() == 0 {
		n.Dst = "default"
	}
	if r.Via.IsValid() {
		n.Via = r.Via.String()
	}
	return n
}
