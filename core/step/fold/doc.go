// Package fold turns a lab's events into what the lab looked like: after any
// of them, and why.
//
// There are only a few nouns:
//
//   - [State]: everything that is known after an event; State.Apply takes the next one.
//   - [Object]: an API object as the store had it, with its last [Revision]s.
//   - [History]: all events, kept small, with the state at any of them.
//   - [Cause]: one link of the chain that answers why something happened.
//
// Start reading at [State.Apply]. State = fold(events[:n]) and nothing else:
// the terminal interface, the checks of lessons and the player of recordings
// know only this, so live view, time travel and playback are one path.
//
// A State is not safe for concurrent use. What it points to (objects, steps,
// actors, …) is never changed afterwards but replaced, so pointers taken from
// a State stay as they were. No event makes Apply panic; an event that is not
// understood only moves Seq and At.
package fold
