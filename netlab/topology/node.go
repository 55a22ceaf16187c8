package topology

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/klab-project/klab/netlab/firewall"
	"github.com/klab-project/klab/netlab/link"
)

// Node is a node to be connected: its number, from 1, its name, and its
// network namespace, which is the caller's.
type Node struct {
	N     int
	Name  string
	NetNS string
}

func (n Node) port() string { return "n-" + strconv.Itoa(n.N) }

// AddNode connects a node to the underlay and makes it a router for its pods.
// Of a node that is connected it completes what is missing.
func (l *Lab) AddNode(ctx context.Context, n Node) (NodeAddrs, error) {
	addrs, err := l.Addrs(n.N)
	if err == nil {
		err = l.addNode(ctx, n, addrs)
	}
	if err != nil {
		return addrs, fmt.Errorf("connect node %s: %w", n.Name, err)
	}
	return addrs, nil
}

func (l *Lab) addNode(ctx context.Context, n Node, addrs NodeAddrs) error {
	underlay, err := l.open(l.UnderlayNS(), "underlay")
	if err != nil {
		return err
	}
	defer underlay.Close()
	node, err := link.Open(n.NetNS, link.By{Actor: l.By.Actor, Node: n.Name})
	if err != nil {
		return err
	}
	defer node.Close()

	if err := l.prepare(ctx, node); err != nil {
		return err
	}
	if err := l.plug(ctx, underlay, n.port(), node, addrs.IP); err != nil {
		return err
	}
	if err := node.Route(ctx, defaultVia(l.GatewayIP())); err != nil {
		return err
	}
	if err := l.router(ctx, node); err != nil {
		return err
	}
	if err := errors.Join(l.reachPods(ctx, addrs), l.addNode6(ctx, node, addrs)); err != nil {
		return err
	}
	if l.tool == nil {
		return nil
	}
	return l.tool.Apply(ctx, node, firewall.Node(addrs.Pods, l.Pods, l.VXLANPort))
}

// reachPods leads the control plane's packets for the node's pods to the node,
// as the routes of a data centre do: the API server is a proxy to pods.
func (l *Lab) reachPods(ctx context.Context, addrs NodeAddrs) error {
	control, err := l.open(l.ControlNS(), "control")
	if err != nil {
		return err
	}
	defer control.Close()
	for _, r := range podRoutes(addrs) {
		if err := control.Route(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// router sets what a node needs to forward its pods' packets: forwarding; no
// strict check of where packets come from, for those of an overlay come in by
// another link than they would go out by; and iptables' view of packets that
// the bridge carries between two pods, without which a Service does not work
// for a client on the same node as its endpoint.
func (l *Lab) router(ctx context.Context, node *link.Net) error {
	if err := node.Sysctl(ctx,
		link.Sysctl{Key: "net.ipv4.ip_forward", Value: "1"},
		link.Sysctl{Key: "net.ipv4.conf.all.rp_filter", Value: "0"},
		link.Sysctl{Key: "net.ipv4.conf.default.rp_filter", Value: "2"},
		link.Sysctl{Key: "net.ipv4.conf.eth0.rp_filter", Value: "2"},
	); err != nil {
		return err
	}
	err := node.Sysctl(ctx, link.Sysctl{Key: bridgeRules, Value: "1"})
	if errors.Is(err, link.ErrNoSysctl) {
		return nil // Missing says so
	}
	return err
}

// RemoveNode disconnects node n from the underlay. It is no error if it is
// not connected, or if there is no lab.
func (l *Lab) RemoveNode(ctx context.Context, n int) error {
	underlay, err := l.open(l.UnderlayNS(), "underlay")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer underlay.Close()
	if err := underlay.Delete(ctx, Node{N: n}.port()); err != nil {
		return err
	}
	addrs, err := l.Addrs(n)
	if err != nil {
		return err
	}
	control, err := l.open(l.ControlNS(), "control")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer control.Close()
	for _, r := range podRoutes(addrs) {
		if err := control.DelRoute(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

func podRoutes(addrs NodeAddrs) []link.Route {
	routes := []link.Route{{Dst: addrs.Pods, Via: addrs.IP, Dev: "eth0"}}
	if addrs.IP6.IsValid() {
		routes = append(routes, link.Route{Dst: addrs.Pods6, Via: addrs.IP6, Dev: "eth0"})
	}
	return routes
}
