package proxy

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/klab-project/klab/netlab/link"
)

// Proxy keeps the rules of one node as the cluster's Services want them. Its
// fields are not changed while a Sync runs.
type Proxy struct {
	Node Node
	Net  *link.Net // the node's
	// Backends are all modes that there are for this node. What those that are
	// not Mode have left is taken away.
	Backends map[Mode]Backend
	// Warn, if set, is told what a Service's owner should know.
	Warn func(ctx context.Context, namespace, name, reason, message string)

	mode   Mode
	have   atomic.Pointer[left] // what the last sync left; nil: unknown
	checks checks
	taken  taken
	flows  *frontends
}

// left is rules that a Sync has brought about.
type left struct{ Ruleset }

// Mode is what Syncs bring about; empty before the first SetMode.
func (p *Proxy) Mode() Mode { return p.mode }

// SetMode prepares the node for a mode, which the next Sync brings about before
// it takes away what another one has left. An error says why the mode cannot
// be on this node; then all stays as it is.
func (p *Proxy) SetMode(ctx context.Context, m Mode) error {
	b := p.Backends[m]
	if b == nil {
		return fmt.Errorf("proxy mode %q is not known on this node", m)
	}
	if err := b.Prepare(ctx); err != nil {
		return fmt.Errorf("proxy mode %s: %w", m, err)
	}
	p.mode = m
	p.have.Store(nil)
	return nil
}

// Sync makes the node's rules, health checks and UDP connections what s wants.
// It must not run twice at the same time. After an error, and the first time,
// it looks at all rules; otherwise it knows what it left.
func (p *Proxy) Sync(ctx context.Context, s State) error {
	if err := p.rules(ctx, s); err != nil {
		return err
	}
	p.checks.sync(ctx, p, s)
	p.taken.sync(ctx, p, s)
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
	b := p.Backends[p.mode]
	want := b.Rules(p.Node, s)
	c := Change{Mode: p.mode, IPv6: p.Node.IP.Is6(), Services: len(s.Services)}
	for _, slice := range s.Slices {
		c.Endpoints += len(slice.Endpoints)
	}
	if have := p.have.Swap(nil); have != nil {
		c.Text = want.Changes(have.Ruleset)
	} else {
		text, err := b.Plan(ctx, want)
		if err != nil {
			return err
		}
		c.Text, c.Whole = text, true
	}
	if c.Text != "" {
		if err := b.Restore(ctx, c); err != nil {
			return fmt.Errorf("rules of Services: %w", err)
		}
	}
	if c.Whole {
		if err := p.clear(ctx, want); err != nil {
			return err
		}
	}
	p.have.Store(&left{want})
	return nil
}

// clear takes away what other modes have left.
func (p *Proxy) clear(ctx context.Context, want Ruleset) error {
	for _, m := range slices.Backward(Modes()) { // ipvs before iptables, which shares chains with it
		b := p.Backends[m]
		if b == nil || m == p.mode {
			continue
		}
		text, err := b.Removal(ctx, want)
		if err == nil && text != "" {
			err = b.Restore(ctx, Change{Mode: m, IPv6: p.Node.IP.Is6(), Text: text, Removes: true})
			p.flows = nil // what packets went that way is to be looked at again
		}
		if err == nil {
			err = b.Undo(ctx)
		}
		if err != nil {
			return fmt.Errorf("what the proxy mode %s has left: %w", m, err)
		}
	}
	return nil
}

// Intact looks whether the rules are still as the last Sync left them. If not,
// the next one repairs them. It may run at the same time as a Sync.
func (p *Proxy) Intact(ctx context.Context) (bool, error) {
	have := p.have.Load()
	if have == nil {
		return true, nil // a Sync is under way, or will look itself
	}
	text, err := p.Backends[have.Mode()].Plan(ctx, have.Ruleset)
	if err != nil || text == "" {
		return true, err
	}
	return !p.have.CompareAndSwap(have, nil), nil
}

// Close ends the health checks. The rules stay: a node whose proxy has ended
// goes on as it is.
func (p *Proxy) Close() { p.checks.close() }
