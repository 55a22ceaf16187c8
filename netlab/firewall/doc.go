// Package firewall writes iptables rules: as text, in one transaction, and
// only what changed.
//
// The nouns: [Rules] is what somebody wants, chain by chain; [Rules.Plan] is a
// pure function from what is there (iptables-save) to the text that
// iptables-restore --noflush needs, empty if nothing; a [Tool] is one pair of
// these programs. Start with [Apply]. [Node] has the rules that every node
// needs. Who remembers what was applied last asks [Rules.Changes] instead.
//
// Ownership: a chain of one's own is replaced as a whole; of a built-in or
// shared chain only one's own jumps are added. Chains whose names begin with an
// owner's prefix are his, and removed when they are not wanted any more. Rules
// of strangers stay as they are.
package firewall
