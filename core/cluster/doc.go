// Package cluster brings a whole lab up and takes it down again. It is the
// only package that knows all others.
//
// Its nouns: a [Dir] is the one directory in which a cluster keeps its state;
// a [Config] is what was chosen for it; the daemon ([Serve]) holds the control
// plane and looks after the processes of the nodes; an agent ([RunAgent]) is
// one node's kubelet and network. [Up], [Down] and [Sweep] are what a person
// asks for, [Connect] is how clients find a running cluster.
//
// Guarantees: every process may be killed at any moment, and Up goes on where
// the last one ended; Down and Sweep leave the machine as it was before, also
// after a crash; nothing in the machine's own network namespace changes except
// for listeners on loopback.
package cluster
