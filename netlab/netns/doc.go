// Package netns keeps network namespaces alive under names that are paths.
//
// A namespace is pinned by a bind mount of its nsfs file, as ip-netns(8) does
// in /run/netns, but in a directory of the caller's choice. A pin lives in the
// kernel and not in a process: it outlasts its creator, also after SIGKILL,
// and any later process with the same mount namespace finds it again.
//
// The nouns: a pin (a path, see [Create], [Pin], [Unpin]), a [Kind] of
// namespace, and an [ID], by which two paths are known to be one namespace.
// Start with [Create], [Do] and [Delete]; [Listen] and [Dialer] make sockets
// that belong to another namespace and work from any goroutine.
//
// Threads: a namespace belongs to a thread, goroutines move between threads.
// [Do] and [Isolate] lock one for as long as their function runs; goroutines
// started by that function are somewhere else.
package netns
