// Package nodens makes the namespaces that a node of the lab lives in, and
// starts processes inside them.
//
// A [Node] is a directory with pins (see package netns): net, uts, mnt and,
// on cgroup v2, cgroup. It holds no process: it is there as soon as it is made
// and until it is deleted, and any later process can open it again, also when
// its creator was killed. Start with [Create] and [Node.Start].
//
// What a process in a node finds: a network of its own with nothing in it; its
// own host name; the machine's file system with mounts that propagate neither
// in nor out; a fresh /sys, so that /sys/class/net is the node's; no pins of
// other nodes, so that deleting a node frees it at once.
//
// Control groups. On v2 the node has a cgroup namespace rooted in its own
// group and a fresh cgroup2 at /sys/fs/cgroup. On v1 there is none: each
// hierarchy's mount would still show the machine's root while /proc/self/cgroup
// tells paths relative to the node's, and libcontainer, which joins the two,
// would miss every group. There the machine's hierarchies are carried over into
// the fresh /sys as they are. [Node.CgroupPath] says which path is the node's
// own, as seen from inside.
package nodens
