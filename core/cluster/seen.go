package cluster

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"

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
		routes, err := s.own.Routes(l.Name)
		if err != nil {
			return d, err
		}
		for _, r := range routes {
			d.Routes = append(d.Routes, nodeRoute(r))
		}
	}
	return d, nil
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
