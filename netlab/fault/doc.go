// Package fault breaks a lab's network on purpose, and mends it again.
//
// The nouns: a [Card] is one way to break something, as data: what it is
// called, what it does and what one sees, in two languages, and a plan. A
// [Fault] is a card that was played: the record of its [Change]s, each with
// what was there before. A [Book] keeps the records of one lab in a directory.
// Start with [Cards] and [Book.Break].
//
// Guarantees:
//
//   - The record is on disk before the first change, so that whoever is killed
//     at any moment leaves a fault that can be mended.
//   - [Book.Mend] brings back what was there, and may be repeated. What
//     somebody else has changed since stays as it is: a fault that the cluster
//     has healed by itself is mended by forgetting it.
//   - A namespace that has ended has taken its faults with it. Namespaces are
//     told apart by their cookie (SO_NETNS_COOKIE), which is never used again.
//   - No change leaves the lab's own namespaces; the machine's is never touched.
//
// What is no part of a network namespace (objects of the API, a proxy that
// stops) is changed by the [Kind]s that the caller brings along.
package fault
