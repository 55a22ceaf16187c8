// Package policy keeps pods apart as NetworkPolicies want it: by rules of the
// node on which a pod is, in the way of kube-router.
//
// The nouns: a [Snapshot] is what there is of policies, pods, namespaces and
// nodes; a [Packet] is the first of a connection; [Allowed] is the oracle, a
// pure function from both to a [Verdict], which names the rule that allows it
// or the policies that keep it out; [Rules] is a pure function from a Snapshot
// to the firewall of one node; [Walk] sends a Packet through rules as
// iptables-save writes them, without a kernel; a [Guard] brings the rules about
// and keeps them so. Start with [Allowed].
//
// In the firewall a packet comes from FORWARD to KUBE-POD-SPECIFIC-FW-CHAIN,
// which every new connection passes; from there, if its source or destination
// is a pod that a policy isolates, to that pod's KUBE-POD-FW-…, one for egress
// and one for ingress; from there to the KUBE-NWPLCY-… of each policy, whose
// rules lead to the addresses of peers in KUBE-SRC-… or KUBE-DST-…. A rule that
// allows the packet marks it; at the end of its pod's chain what has no mark is
// rejected. Each rule's comment says which pod, which policy, and where in the
// policy's YAML.
//
// Guarantees: a sync is one iptables-restore that carries what changed and
// nothing else; rules of strangers stay; a node without isolated pods has no
// rules at all. Policies decide before anything that accepts. Connections that
// were allowed go on when a policy comes that would not have allowed them.
//
// Behaviour comes from https://kubernetes.io/docs/concepts/services-networking/network-policies/
// and, where that leaves it open, from github.com/cloudnativelabs/kube-router.
// There are no ipsets: a rule per address says more, and a lab has few.
package policy
