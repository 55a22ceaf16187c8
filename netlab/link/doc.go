// Package link changes links, addresses, routes, neighbours, forwarding
// entries and sysctls of network namespaces.
//
// There is one noun, [Net]: a namespace opened for changes. Its methods are
// verbs that say how things are to be, not what to do:
//
//   - each may be repeated: where all is as asked, nothing is done;
//   - each that changes something leaves a trail, a step fact with the ip(8),
//     bridge(8) or sysctl(8) command line that does the same;
//   - each error begins with that line;
//   - dumps that the kernel interrupts (EINTR, because something changed
//     meanwhile) are read again.
//
// Callers may not assume that two verbs are one transaction: the kernel has
// none for links. Whoever is interrupted between two of them repeats all.
package link
