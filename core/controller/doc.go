// Package controller is the control plane's controllers: each compares what is
// wanted with what there is, and does something about the difference.
//
// Its nouns are Controller (a name and the function that builds it), Loop (one
// life of a controller: client, informers, queue, events), Reconcile (brings
// one key's state nearer to what is wanted) and the plans: pure functions, in
// the files named *_plan.go, return what is to be done, and the reconciles
// carry it out. Start with controller.go and loop.go, then read any other file:
// there is one per controller.
//
// Guarantees:
//   - A key is never reconciled by two goroutines at once.
//   - A reconcile is one step; its causes are the deliveries that queued its key
//     since its former turn, or the timer that did.
//   - All time is lab time: back-off, deadlines and grace periods stand still
//     while the lab is held.
//   - A controller that crashes starts again with empty caches and an empty
//     queue; the others do not notice.
//
// A reconcile may not assume that its cache is fresh: deliveries can be held.
package controller
