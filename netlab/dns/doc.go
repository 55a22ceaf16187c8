// Package dns is the cluster's DNS server.
//
// Its nouns, from the question to the network:
//
//   - [Snapshot] is what the API has: Services, EndpointSlices, namespaces, pods.
//     [NewIndex] arranges it, and [Zone.Answer] is a pure function from a question
//     to an answer, as the specification "Kubernetes DNS-Based Service Discovery"
//     1.1.0 has it.
//   - [Block] is a server block of a Corefile, read by [Parse]; [Configure] makes
//     a [Config] of it. The language and its directives are those of CoreDNS,
//     as far as kubeadm's own Corefile and the usual changes to it need them; what
//     is not known is refused by name and line.
//   - A [Handler] answers a [Request]; a stage is a Handler around the next one.
//     Their order is a table, directives in config.go, and not the Corefile's.
//   - [Server] listens, and reads its Corefile again when that has changed.
//   - [Kube] keeps a Snapshot up to date by list and watch (package kube).
//
// [Outside] is no part of the cluster: it is the resolver of the world behind the
// lab's gateway, with a few names reserved for examples.
//
// Start with [Server.Run]. Log lines have CoreDNS's form and words, so that what
// is known of it can be used here.
package dns
