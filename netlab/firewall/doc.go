// Package firewall writes iptables rules: as text, in one transaction, and
// only what changed.
//
// The nouns: [Rules] is what somebody wants, chain by chain; [Rules.Plan] is a
// pure function from what is there (iptables-save) to the text that
// iptables-restore --noflush needs, empty if nothing; a [Tool] is one pair of
// these programs. Start with [Apply]. [Node] has the rules that every node
// needs.
//
// Ownership: a chain of one's own is replaced as a whole; of a built-in chain
// only one's own jumps are added. Rules of strangers stay as they are.
package firewall
