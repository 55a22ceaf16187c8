package cni

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// PodNet is a pod's sandbox as its network sees it.
type PodNet struct {
	SandboxID, Namespace, Name string
	NetNS                      string // path of its network namespace; may be empty for Detach
	// Network is what it is attached to; nil: the node's first configuration.
	Network *List
	// Ports are the node's ports that lead to the pod.
	Ports []PortMapping
}

// Invoker is what a PodNetwork needs of a [Runner].
type Invoker interface {
	Add(ctx context.Context, l *List, c Call) (*Result, error)
	Del(ctx context.Context, l *List, c Call) error
}

// PodNetwork connects pods by the network configuration of a directory, which
// is read anew for every pod.
type PodNetwork struct {
	ConfDir string
	Runner  *Runner
	// Invoker carries calls out; if nil the Runner itself does. See [Steps].
	Invoker Invoker
}

const podLink = "eth0"

func (n *PodNetwork) invoker() Invoker {
	if n.Invoker != nil {
		return n.Invoker
	}
	return n.Runner
}

func (p PodNet) call() Call {
	// Values must not have separators in them; Kubernetes' names have none.
	clean := strings.NewReplacer(";", "_", "=", "_").Replace
	c := Call{ContainerID: p.SandboxID, NetNS: p.NetNS, IfName: podLink,
		Args: fmt.Sprintf("IgnoreUnknown=1;K8S_POD_NAMESPACE=%s;K8S_POD_NAME=%s;K8S_POD_INFRA_CONTAINER_ID=%s",
			clean(p.Namespace), clean(p.Name), p.SandboxID)}
	if len(p.Ports) > 0 {
		c.Capabilities = map[string]any{"portMappings": p.Ports}
	}
	return c
}

// Attach connects a pod and returns its addresses, the first being the one
// that the pod is known by. It may be repeated.
func (n *PodNetwork) Attach(ctx context.Context, p PodNet) ([]netip.Addr, error) {
	l, err := n.list(p)
	if err != nil {
		return nil, fmt.Errorf("attach pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	c := p.call()
	if lo, ok := n.Runner.Plugins["loopback"]; ok {
		if _, err := lo.Add(ctx, c); err != nil {
			return nil, fmt.Errorf("attach pod %s/%s: %w", p.Namespace, p.Name, err)
		}
	}
	result, err := n.invoker().Add(ctx, l, c)
	if err != nil {
		return nil, fmt.Errorf("attach pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	return Addrs(result), nil
}

func (n *PodNetwork) list(p PodNet) (*List, error) {
	if p.Network != nil {
		return p.Network, nil
	}
	return Load(n.ConfDir)
}

// Detach disconnects a pod and frees its addresses. It goes by the
// configuration that the pod was attached with. It may be repeated, also for
// pods that were never attached.
func (n *PodNetwork) Detach(ctx context.Context, p PodNet) error {
	known, err := n.Runner.Attachments(p.SandboxID)
	if err != nil {
		return err
	}
	var lists []*List
	for _, a := range known {
		l, err := Parse(a.Config)
		if err != nil {
			return fmt.Errorf("detach pod %s/%s: %w", p.Namespace, p.Name, err)
		}
		lists = append(lists, l)
	}
	if len(lists) == 0 { // never attached, or not to the end
		l, err := n.list(p)
		if errors.Is(err, ErrNoNetwork) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("detach pod %s/%s: %w", p.Namespace, p.Name, err)
		}
		lists = append(lists, l)
	}
	for _, l := range lists {
		if err := n.invoker().Del(ctx, l, p.call()); err != nil {
			return fmt.Errorf("detach pod %s/%s: %w", p.Namespace, p.Name, err)
		}
	}
	return nil
}

// Addrs are the addresses that a result gives to the pod.
func Addrs(r *Result) []netip.Addr {
	var list []netip.Addr
	for _, ip := range r.IPs {
		if a, ok := netip.AddrFromSlice(ip.Address.IP); ok {
			list = append(list, a.Unmap())
		}
	}
	return list
}
