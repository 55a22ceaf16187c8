// Package cm gives a node's pods their control groups .
//
// The nouns: a [Tree] is the groups of one node, kubepods with burstable and
// besteffort in it, and a group for each pod; [Settings] are the numbers of one
// group..
//
// Start at [Open] and [Tree.Put]; what the numbers are is decided in
// settings.go, which is pure. The layout and the numbers are those of upstream's
// kubelet with the cgroupfs driver:
//
//	kubepods                       what the node lets pods have together
//	kubepods/podUID                a Guaranteed pod
//	kubepods/burstable/podUID
//	kubepods/besteffort/podUID
//
// All verbs may be repeated. A Tree is only what a kubelet has written: after a
// restart, Put says again what is so.
package cm
