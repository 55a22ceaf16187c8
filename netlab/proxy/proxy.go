package proxy

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/klab-project/klab/netlab/firewall"
	"github.com/klab-project/klab/netlab/link"
)

// Proxy keeps the rules of one node as the cluster's Services want them. Its
// fields are not changed while a Sync runs.
type Proxy struct {
	Node  Node
	Net   *link.Net // the node's
	Hands Hands
	// Warn, if set, is told what a Service's owner should know.
	Warn func(ctx context.Context, namespace, name, reason, message string)

	have   atomic.Pointer[firewall.Rules] // what the last sync left; nil: unknown
	checks checks
	flows  *frontends
}

// Change is one transaction of the firewall.
type Change struct {
	Text                string // for iptables-restore --noflush
	Services, Endpoints int    // that the rules are for
	Whole               bool   // it was found by looking at all rules
}

// Hands is what a Proxy needs done. See [Steps].
type Hands interface {
	Saved(ctx context.Context) (string, error)
	Restore(ctx context.Context, c Change) error
}

// Tables are the hands of a firewall.
type Tables struct {
	*firewall.Tool
	Net *link.Net
}

func (t Tables) Saved(ctx context.Context) (string, error) { return t.Tool.Saved(ctx, t.Net) }

func (t Tables) Restore(ctx context.Context, c Change) error {
	return t.Tool.Feed(ctx, t.Net, c.Text)
}

// Prepare sets what the rules need of the node's kernel: packets to a NodePort
// of 127.0.0.1 leave the loopback, and KUBE-FIREWALL sees to it that no others
// come in that way.
func (p *Proxy) Prepare(ctx context.Context) error {
	return p.Net.Sysctl(ctx, link.Sysctl{Key: "net.ipv4.conf.all.route_localnet", Value: "1"})
}

// Sync makes the node's rules, health checks and UDP connections what s wants.
// It must not run twice at the same time. After an error, and the first time,
// it looks at all rules; otherwise it knows what it left.
func (p *Proxy) Sync(ctx context.Context, s State) error {
	if err := p.rules(ctx, s); err != nil {
		return err
	}
	p.checks.sync(ctx, p, s)
	flows := frontendsOf(s)
	if p.flows == nil || !p.flows.equal(flows) {
		if err := forget(ctx, p.Net, flows); err != nil {
			return err
		}
		p.flows = flows
	}
	return nil
}

func (p *Proxy) rules(ctx context.Context, s State) error {
	want := Rules(p.Node, s)
	c := Change{Services: len(s.Services)}
	for _, slice := range s.Slices {
		c.Endpoints += len(slice.Endpoints)
	}
	if have := p.have.Swap(nil); have != nil {
		c.Text = want.Changes(*have)
	} else {
		saved, err := p.Hands.Saved(ctx)
		if err != nil {
			return err
		}
		c.Text, c.Whole = want.Plan(saved), true
	}
	if c.Text != "" {
		if err := p.Hands.Restore(ctx, c); err != nil {
			return fmt.Errorf("rules of Services: %w", err)
		}
	}
	p.have.Store(&want)
	return nil
}

// Intact looks whether the rules are still as the last Sync left them. If not,
// the next one repairs them. It may run at the same time as a Sync.
func (p *Proxy) Intact(ctx context.Context) (bool, error) {
	have := p.have.Load()
	if have == nil {
		return true, nil // a Sync is under way, or will look itself
	}
	saved, err := p.Hands.Saved(ctx)
	if err != nil || have.Plan(saved) == "" {
		return true, err
	}
	return !p.have.CompareAndSwap(have, nil), nil
}

// Close ends the health checks. The rules stay: a node whose proxy has ended
// goes on as it is.
func (p *Proxy) Close() { p.checks.close() }
