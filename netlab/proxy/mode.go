package proxy

import (
	"context"
	"fmt"
	"slices"
)

// Mode is one of kube-proxy's ways to lead packets to Services.
type Mode string

// The modes, by the names that KubeProxyConfiguration has for them.
const (
	IPTables Mode = "iptables" // a chain for each port and each endpoint
	NFTables Mode = "nftables" // verdict maps from addresses to chains
	IPVS     Mode = "ipvs"     // the kernel's load balancer, its addresses on a dummy link
)

// Modes are all that there are; the first is the one without a choice.
func Modes() []Mode { return []Mode{IPTables, NFTables, IPVS} }

// ParseMode returns the mode of that name; an empty one stands for the first.
func ParseMode(name string) (Mode, error) {
	if name == "" {
		return IPTables, nil
	}
	if m := Mode(name); slices.Contains(Modes(), m) {
		return m, nil
	}
	return "", fmt.Errorf("proxy mode %q is not known: must be iptables, nftables or ipvs", name)
}

// Ruleset is what a mode wants of a node's kernel: the result of [Rules],
// [NFTRules] or [IPVSRules].
type Ruleset interface {
	Mode() Mode
	// Render is the text that makes it where there is nothing.
	Render() string
	// Changes is the text that leads to it from old, of the same mode, if
	// there is nothing else that matters. It is empty if they are equal.
	Changes(old Ruleset) string
}

// Backend is how one mode is brought about in one node's kernel. See [Steps].
type Backend interface {
	// Prepare sets what the mode needs of the kernel, or says why it cannot be.
	Prepare(ctx context.Context) error
	// Rules is what the mode wants for s on node.
	Rules(node Node, s State) Ruleset
	// Plan is the text that leads from what is there to r, empty if it is so.
	Plan(ctx context.Context, r Ruleset) (string, error)
	// Restore carries out a text of Plan, Changes or Removal.
	Restore(ctx context.Context, c Change) error
	// Removal is the text that takes away all that the mode has left, except
	// for what next has too.
	Removal(ctx context.Context, next Ruleset) (string, error)
	// Undo takes back what Prepare has set, where no mode needs it.
	Undo(ctx context.Context) error
}

// Change is one transaction of a mode.
type Change struct {
	Mode                Mode
	IPv6                bool
	Text                string // for iptables-restore --noflush, for nft -f -, or the command lines of ipvs
	Services, Endpoints int    // that the rules are for
	Whole               bool   // it was found by looking at all rules
	Removes             bool   // it takes away what another mode has left
}
