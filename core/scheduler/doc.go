// Package scheduler decides on which node each pod runs.
//
// Its nouns are Queue (which pod is next, and which have to wait), Snapshot
// (the nodes and what is on them), Plugin (a filter, a score, or both; the
// slice Plugins is all there are and their order) and the cycle: snapshot,
// filter, score, choose, assume, bind. Start with cycle.go and plugin.go.
//
// Guarantees:
//   - One pod is decided at a time. A pod that was decided counts on its node
//     from then on (it is assumed there), also while its binding is on its way.
//   - Of nodes with equal scores, the one that was chosen longest ago is chosen;
//     of those never chosen, the first by name. There is no randomness.
//   - A pod that fits nowhere waits until something changes that a plugin which
//     turned it down has asked for, and for at least its back-off.
//
// There is no preemption, and no affinity between pods yet.
package scheduler
