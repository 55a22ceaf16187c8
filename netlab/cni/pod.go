package cni

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/klab-project/klab/netlab/link"
)

// PodNet is a pod's sandbox as its network sees it.
type PodNet struct {
	SandboxID, Namespace, Name string
	NetNS                      string // path of its network namespace; may be empty for Detach
	// Network is what it is attached to; nil: the node's first configuration.
	Network *List
	// Ports are the node's ports that lead to the pod.
	Ports []PortMapping
	// Capabilities are what else plugins may want to know, by the names of
	// https://github.com/containernetworking/cni/blob/main/CONVENTIONS.md:
	// "bandwidth", "ipRanges", "mac".
	Capabilities map[string]any
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
	c.Capabilities = maps.Clone(p.Capabilities)
	if len(p.Ports) > 0 {
		if c.Capabilities == nil {
			c.Capabilities = map[string]any{}
		}
		c.Capabilities["portMappings"] = p.Ports
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
	if err := n.loopback(ctx, c); err != nil {
		return nil, fmt.Errorf("attach pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	result, err := n.invoker().Add(ctx, l, c)
	if err != nil {
		return nil, fmt.Errorf("attach pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	return Addrs(result), nil
}

// loopback switches the pod's lo on, by the plugin that runtimes have for it,
// with the configuration that they have for it. It needs no DEL.
func (n *PodNetwork) loopback(ctx context.Context, c Call) error {
	lo, err := n.Runner.Plugins.Find("loopback")
	if err != nil {
		return err
	}
	c.IfName, c.Path, c.Config = "lo", n.Runner.Plugins, []byte(`{"cniVersion":"0.3.1","name":"cni-loopback","type":"loopback"}`)
	_, err = lo.Add(ctx, c)
	return err
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

// Ready says why pods cannot be attached: what is wrong with the configuration,
// or what its plugins say. It is nil if they can.
func (n *PodNetwork) Ready(ctx context.Context) error {
	l, err := Load(n.ConfDir)
	if err != nil {
		return err
	}
	return n.Runner.Status(ctx, l)
}

// Said makes STATUS a step: for those who have found that Ready changed.
func (n *PodNetwork) Said(ctx context.Context) {
	if l, err := Load(n.ConfDir); err == nil {
		_ = n.invoker().Status(ctx, l) // Ready has said it
	}
}

// Collect removes what is left of pods that are gone: all that plugins keep but
// what belongs to the sandboxes that are there.
func (n *PodNetwork) Collect(ctx context.Context, sandboxes []string) error {
	known, err := n.Runner.Attachments("")
	if err != nil {
		return err
	}
	var errs []error
	for _, a := range known {
		if !slices.Contains(sandboxes, a.ContainerID) {
			p := PodNet{SandboxID: a.ContainerID, Namespace: a.arg("K8S_POD_NAMESPACE"), Name: a.arg("K8S_POD_NAME")}
			errs = append(errs, n.Detach(ctx, p))
		}
	}
	l, err := Load(n.ConfDir)
	if err != nil { // which is told elsewhere
		return errors.Join(errs...)
	}
	valid := []Owner{}
	for _, id := range sandboxes {
		valid = append(valid, Owner{ContainerID: id, IfName: podLink})
	}
	return errors.Join(append(errs, n.invoker().GC(ctx, l, valid))...)
}

func (a *Attachment) arg(key string) string {
	for _, pair := range a.Args {
		if pair[0] == key {
			return pair[1]
		}
	}
	return ""
}

// Verify asks whether a pod is attached as ADD left it.
func (n *PodNetwork) Verify(ctx context.Context, p PodNet) error {
	known, err := n.Runner.Attachments(p.SandboxID)
	if err != nil {
		return err
	}
	if len(known) == 0 {
		return fmt.Errorf("pod %s/%s has no attachment: no ADD of it has ended well", p.Namespace, p.Name)
	}
	var errs []error
	for _, a := range known {
		l, err := Parse(a.Config)
		if err == nil {
			err = n.invoker().Check(ctx, l, p.call())
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// VerifyPod is Verify for whoever knows only a pod's name. The sandbox of it whose
// network namespace is there counts.
func (n *PodNetwork) VerifyPod(ctx context.Context, namespace, name string) error {
	known, err := n.Runner.Attachments("")
	if err != nil {
		return err
	}
	p := PodNet{Namespace: namespace, Name: name}
	for _, a := range known {
		if a.arg("K8S_POD_NAMESPACE") != namespace || a.arg("K8S_POD_NAME") != name {
			continue
		}
		if ns, err := link.Open(a.NetNS, link.By{}); err == nil {
			p.SandboxID, p.NetNS = a.ContainerID, a.NetNS
			_ = ns.Close() // it was only looked at
		}
	}
	if p.SandboxID == "" {
		return fmt.Errorf("pod %s/%s has no attachment: no ADD of it has ended well, or it has ended", namespace, name)
	}
	return n.Verify(ctx, p)
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
