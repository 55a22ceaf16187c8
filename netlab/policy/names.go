package policy

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"

	"github.com/klab-project/klab/netlab/firewall"
)

// First is the chain through which all new connections of a node with isolated
// pods go.
const First = firewall.Leading

// The other chains begin with these.
const (
	podPrefix    = "KUBE-POD-FW-"
	policyPrefix = "KUBE-NWPLCY-"
	sourcePrefix = "KUBE-SRC-" // addresses from which a rule allows ingress
	destPrefix   = "KUBE-DST-" // addresses to which a rule allows egress
)

// allowedMark is the bit that says that a rule allows the packet.
const allowedMark = "0x10000"

// chain names a chain: names have 28 characters at most, so a hash stands for
// what it is about.
func chain(prefix string, about ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(about, " ")))
	return prefix + base32.StdEncoding.EncodeToString(sum[:])[:16]
}

func podChain(p *Pod, d direction) string { return chain(podPrefix, p.String(), string(d)) }

func policyChain(p *Policy, d direction) string { return chain(policyPrefix, p.String(), string(d)) }

// peerChain is of what a path of a policy names: "spec.ingress[0].from[1]".
func peerChain(p *Policy, d direction, path string) string {
	prefix := sourcePrefix
	if d == egress {
		prefix = destPrefix
	}
	return chain(prefix, p.String(), path)
}

func byName(a, b *Policy) int { return strings.Compare(a.String(), b.String()) }

// comment is a rule's. The kernel takes 255 bytes of it.
func comment(text string) string { return `-m comment --comment "` + text[:min(len(text), 255)] + `" ` }
