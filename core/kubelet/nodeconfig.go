package kubelet

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/klab-project/klab/core/kubelet/eviction"
)

// Resources says how the node shares out what it has.
type Resources struct {
	// CgroupRoot is the control group of all pods as processes of the node
	// name it, such as "/klab-lab/node-1/kubepods". Empty: pods have no groups
	// of the kubelet's, for tests.
	CgroupRoot string

	// KubeReserved and SystemReserved are not for pods.
	KubeReserved   corev1.ResourceList
	SystemReserved corev1.ResourceList

	// CPUPolicy is none (the default) or static: containers of Guaranteed pods
	// that ask for whole CPUs have them alone. ReservedCPUs is a list such as
	// "0"; without it as many as are reserved above, the first ones.
	CPUPolicy    string
	ReservedCPUs string

	// DevicePlugins is the directory where device plugins register; empty,
	// or too long for a socket's path: nobody can.
	DevicePlugins string

	// Eviction says when pods have to go; without hard thresholds, upstream's.
	Eviction eviction.Config
}
