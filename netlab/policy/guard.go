package policy

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/klab-project/klab/netlab/firewall"
	"github.com/klab-project/klab/netlab/link"
)

// Guard keeps the rules of one node, of one family of addresses, as the
// cluster's NetworkPolicies want them.
type Guard struct {
	Node   string
	Family Family
	Hands  Hands

	have atomic.Pointer[firewall.Rules] // what the last sync left; nil: unknown
}

// Change is one transaction of the firewall.
type Change struct {
	IPv6     bool
	Text     string   // for iptables-restore --noflush, or ip6tables-restore
	Pods     []string // of the node, that some policy isolates
	Policies int      // that isolate them
	Whole    bool     // it was found by looking at all rules
}

// Hands is what a Guard needs done. See [Steps].
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

// Sync makes the node's rules what s wants. It must not run twice at the same
// time. After an error, and the first time, it looks at all rules; otherwise it
// knows what it left.
func (g *Guard) Sync(ctx context.Context, s Snapshot) error {
	want := Rules(g.Node, g.Family, s)
	c := g.about(s)
	have := g.have.Swap(nil)
	switch {
	case have != nil && len(*have) > 0 && len(want) > 0:
		c.Text = want.Changes(*have)
	case have != nil && len(*have) == 0 && len(want) == 0:
	default:
		saved, err := g.Hands.Saved(ctx)
		if err != nil {
			return err
		}
		c.Text, c.Whole = plan(want, saved), true
	}
	if c.Text != "" {
		if err := g.Hands.Restore(ctx, c); err != nil {
			return fmt.Errorf("rules of NetworkPolicies: %w", err)
		}
	}
	g.have.Store(&want)
	return nil
}

// plan leads from saved to the rules that are wanted; without isolated pods
// these are none.
func plan(want firewall.Rules, saved string) string {
	if len(want) == 0 {
		return frame().Remove(saved)
	}
	return want.Plan(saved)
}

func (g *Guard) about(s Snapshot) (c Change) {
	w := newWriter(g.Node, g.Family, s)
	c.IPv6 = g.Family.V6
	isolating := map[*Policy]bool{}
	for _, pod := range w.isolated() {
		c.Pods = append(c.Pods, pod.String())
		for _, d := range []direction{egress, ingress} {
			for _, p := range w.isolating(pod, d) {
				isolating[p] = true
			}
		}
	}
	c.Policies = len(isolating)
	return c
}

// Intact looks whether the rules are still as the last Sync left them. If not,
// the next one repairs them. It may run at the same time as a Sync.
func (g *Guard) Intact(ctx context.Context) (bool, error) {
	have := g.have.Load()
	if have == nil {
		return true, nil // a Sync is under way, or will look itself
	}
	saved, err := g.Hands.Saved(ctx)
	if err != nil || plan(*have, saved) == "" {
		return true, err
	}
	return !g.have.CompareAndSwap(have, nil), nil
}

// Differs is what would have to change in saved, the output of iptables-save of
// a node, for its rules to be what s wants: the input of iptables-restore, empty
// if nothing.
func Differs(node string, f Family, s Snapshot, saved string) string {
	return plan(Rules(node, f, s), saved)
}
