// Package devices lets pods have devices that the kubelet knows nothing about:
// a vendor's plugin, another process of the node, lists them and says what a
// container needs to use one.
//
// The nouns: [Devices] are those of one node and who has them; a plugin is a
// process that offers one resource, such as example.com/gpu; a grant is what a
// container was given of one resource, with what its plugin said about it.
//
// Start at [Open]. A plugin calls Register on kubelet.sock; from then on the
// kubelet is its client: ListAndWatch streams what there is,
// GetPreferredAllocation and Allocate are called when a pod is admitted,
// PreStartContainer before each start.
//
// Guarantees: no device is given to two containers at once, except from an
// init container to what comes after it; grants are in a checkpoint, so they
// outlive the kubelet. A plugin that is gone leaves its devices unhealthy: they
// stay in the node's capacity for five minutes and are allocatable no more.
//
// Protocol, words and the checkpoint's form are those of upstream's device
// manager. ("Device Plugins" in the Kubernetes documentation.) There is no
// topology manager: devices are not chosen by NUMA nodes.
package devices
