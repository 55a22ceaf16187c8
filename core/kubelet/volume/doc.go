// Package volume makes, renews and removes the volumes of pods on a node.
//
// The nouns: [Plan] turns one volume of a pod into a [Mount], which says as
// data what is to be on the node; [Hands] make it so, and each of their calls
// is a step ([Steps]); [TearDown] removes everything that a pod has, also what
// an earlier kubelet left. A [Source] gives what volumes of the API show.
//
// Start at [Plan]. To see what is done to the node read hands.go; how readers
// see all of an update or nothing of it, atomic.go; how a subPath stays inside
// its volume, subpath.go.
//
// Guarantees: a Mount may be made again at any time; [Mount.Done] tells whether
// there is anything to make; nothing is removed below a path where something is
// still mounted; paths inside of volumes are never followed out of them.
//
// Directories, modes and words are upstream's ("Volumes", "Projected Volumes",
// "Configure a Security Context for a Pod").
package volume
