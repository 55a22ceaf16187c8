// Package ipam gives out addresses of subnets and remembers in a directory
// who has them.
//
// The nouns: a [Pool] of addresses, which has one [Range] or several, an
// [Owner], and a [Lease], which is a file named after its address. The layout is that of the CNI
// project's host-local plugin, so the two can take each other's place.
//
// Guarantees, also when a process is killed at any point and when several
// processes use one directory:
//
//   - no address has two owners;
//   - an owner has at most one address of a pool, and who asks again gets it
//     again;
//   - releasing is idempotent, and what was released is used again last.
//
// Callers may not assume that leases survive a crash of the machine: the
// namespaces that they belong to do not, either.
package ipam
