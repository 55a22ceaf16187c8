// Package step is the one mechanism of klab: every decision of the cluster is
// an [Action], performed through [Do], which a [Gate] may hold and a [Journal]
// writes down.
//
// There are only a few nouns:
//
//   - [Action]: what somebody is about to do (actor, verb, object, class).
//   - [Gate]: holds actions while the lab is paused; somebody picks which goes next, and how.
//   - [Event]: what happened, one JSON line; a [Journal] orders events and finds their causes.
//   - [Clock]: the lab's time; it stands still while the gate is closed.
//   - [Lab]: the three of them together, carried by a context.
//
// Start reading at [Do]. The package imports only the standard library, so
// that it can lie under everything else.
//
// Callers may rely on this: without a Lab in the context Do only calls its
// function; a held action has had no effect yet; an action is recorded before
// it runs; a cancelled context releases a held action with the context's
// error. They must not hold a lock across Do.
package step
