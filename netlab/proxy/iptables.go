package proxy

import (
	"context"

	"github.com/klab-project/klab/netlab/firewall"
	"github.com/klab-project/klab/netlab/link"
)

// Tables are what the mode iptables wants: the result of [Rules].
type Tables struct{ firewall.Rules }

// Mode implements Ruleset.
func (Tables) Mode() Mode { return IPTables }

// Changes implements Ruleset.
func (t Tables) Changes(old Ruleset) string { return t.Rules.Changes(old.(Tables).Rules) }

// IPTablesBackend is the backend of the mode iptables.
type IPTablesBackend struct {
	*firewall.Tool // nil: there is none on this machine
	Net            *link.Net
	IPv6           bool // it is for the other family, and so is Tool

	memory Memory
}

// localhost lets packets to a NodePort of 127.0.0.1 leave the loopback;
// KUBE-FIREWALL sees to it that no others come in that way.
const localhost = "net.ipv4.conf.all.route_localnet"

// Prepare implements Backend.
func (b *IPTablesBackend) Prepare(ctx context.Context) error {
	if b.Tool == nil {
		return firewall.ErrNoTool
	}
	if b.IPv6 {
		return nil // no packet to ::1 leaves the loopback
	}
	return b.Net.Sysctl(ctx, link.Sysctl{Key: localhost, Value: "1"})
}

// Rules implements Backend.
func (b *IPTablesBackend) Rules(node Node, s State) Ruleset { return Tables{b.memory.Rules(node, s)} }

// Plan implements Backend.
func (b *IPTablesBackend) Plan(ctx context.Context, r Ruleset) (string, error) {
	saved, err := b.Saved(ctx, b.Net)
	return r.(Tables).Plan(saved), err
}

// Restore implements Backend.
func (b *IPTablesBackend) Restore(ctx context.Context, c Change) error {
	return b.Feed(ctx, b.Net, c.Text)
}

// Removal implements Backend.
func (b *IPTablesBackend) Removal(ctx context.Context, next Ruleset) (string, error) {
	if b.Tool == nil {
		return "", nil
	}
	saved, err := b.Saved(ctx, b.Net)
	if err != nil {
		return "", err
	}
	var keep firewall.Rules
	if r, ok := next.(*Servers); ok {
		keep = r.tables
	}
	return leftovers(keep).Remove(saved), nil
}

// leftovers are the chains and jumps of both modes that write rules for
// iptables, as far as they are not in keep: they share some, and a chain cannot
// go while the other mode calls it.
func leftovers(keep firewall.Rules) firewall.Rules {
	one, two := Rules(Node{}, State{}), IPVSRules(Node{}, State{}).tables
	two = two.Without(one)
	for i := range one {
		one[i].Chains = append(one[i].Chains, two[i].Chains...)
		one[i].Jumps = append(one[i].Jumps, two[i].Jumps...)
	}
	return one.Without(keep)
}

// Undo implements Backend.
func (b *IPTablesBackend) Undo(ctx context.Context) error {
	if b.IPv6 {
		return nil
	}
	return b.Net.Sysctl(ctx, link.Sysctl{Key: localhost, Value: "0"})
}
