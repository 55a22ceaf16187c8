// Package sim runs the whole control plane in one process and in a
// testing/synctest bubble: the API server on a memory store, controllers, the
// scheduler, and a stand-in for the kubelets that starts pods at once. Nothing
// of it is a mock: client-go, informers and watches are the real ones.
//
// Its nouns are World (the parts, and the gate that holds every action), State
// (the objects, read from the store), Invariant (what must hold after every
// action) and Result. A step.Chooser decides which action happens next; so a
// test explores schedules at random, systematically, or replays one. Start
// with [Run].
//
// Guarantees: the same choices give the same run, names and UIDs included.
// Run must be called in a bubble, and everything has stopped when it returns.
package sim
