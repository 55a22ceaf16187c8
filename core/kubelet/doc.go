// Package kubelet makes one node's pods what the API says they are.
//
// The nouns: a [Kubelet] is one node's; it has a podWorker for each pod, which
// takes one turn at a time through upstream's three states (sync, terminating,
// terminated). A turn compares the pod with its podState (what the runtime
// has), computeActions makes podActions of it, and the worker carries them
// out through the runtime. podStatus says what came of it, and a statusWriter
// tells the API.
//
// What neither the API nor the runtime keeps of a pod is in its checkpoint:
// the resources that it was granted and has, its back-offs, its user ids. The
// prober keeps the verdicts about containers that run.
//
// Start at [Run]; to see what is decided read actions.go and status.go, which
// are pure; to see what is done read sync.go and terminate.go.
//
// Guarantees: a container is never started twice for one life; a turn always
// sees the latest version of its pod; all of the kubelet's waiting (back-off,
// probes, grace periods, leases) is on the lab clock; ending a kubelet, also
// with SIGKILL, changes nothing about the containers, and the next one takes
// them up with their exit codes. A Pod that is being deleted leaves the API
// only when nothing of it is left on the node.
//
// Behaviour and words are those of the Kubernetes documentation, "Pod
// Lifecycle", and of upstream's kubelet.
package kubelet
