// Package cni connects pods to their node's network the way the Container
// Network Interface specification, versions 1.0 and 1.1, says it is done:
// https://github.com/containernetworking/cni/blob/main/SPEC.md
//
// The nouns: a [List] is a network configuration, read from a conflist file; a
// [Plugin] carries out ADD, DEL, CHECK, STATUS and GC for one element of it; a
// [Call] is what the specification passes in the environment and on standard
// input; a [Runner] takes a Call through a List and keeps results; a
// [PodNetwork] is what a container runtime needs of all this. Start with
// [PodNetwork.Attach].
//
// Plugins are either values that are called in process, as [Builtin] has them,
// or a [Program] each. A [Finder] knows which: a [Bin] is a directory such as
// /opt/cni/bin, in which klab's own program (cmd/klab-cni) stands for the
// values of this package, and any other is executed. Plugins know nothing but
// their Call; those that delegate find the others by it.
//
// Guarantees: ADD of an attachment that exists returns its result and changes
// nothing. DEL is idempotent and works after the pod's namespace is gone. An
// ADD that fails, or is cut short, is undone by DEL; Runner.Add does so itself
// when it fails.
package cni
