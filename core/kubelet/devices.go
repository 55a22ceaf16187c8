package kubelet

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klab-project/klab/core/kubelet/devices"
)

// maxSocket is how long a socket's path may be. (unix(7).)
const maxSocket = 107

// openDevices lets plugins offer devices, if the node is to have any.
func (k *Kubelet) openDevices() (err error) {
	dir := k.Resources.DevicePlugins
	if dir == "" {
		return nil
	}
	if socket := dir + "/kubelet.sock"; len(socket) > maxSocket {
		k.log.Warn("no device plugins: the path of their socket is too long; put the lab's directory elsewhere", "path", socket)
		return nil
	}
	k.devices, err = devices.Open(devices.Config{Dir: dir, Clock: k.Clock, Logger: k.log, Changed: k.devicesChanged})
	return err
}

func (k *Kubelet) closeDevices() {
	if k.devices != nil {
		k.devices.Close()
	}
}

// devicesChanged lets the pods that have some look again, and the node say what
// there is.
func (k *Kubelet) devicesChanged(pods []types.UID) {
	k.mu.Lock()
	for _, uid := range pods {
		if w := k.workers[uid]; w != nil {
			w.kick(0)
		}
	}
	k.mu.Unlock()
	select {
	case k.node.news <- struct{}{}:
	default: // it is going to look anyway
	}
}

// takeDevices gives an admitted pod its devices. Their plugins are asked
// meanwhile; without a lock, since they may take their time.
func (k *Kubelet) takeDevices(ctx context.Context, w *podWorker, pod *corev1.Pod) (reason statusReason, ok bool) {
	if k.devices == nil {
		return reason, true
	}
	err := k.devices.Take(ctx, pod)
	if err == nil {
		return reason, true
	}
	w.count(false)
	if err := k.freeCPUs(ctx, pod.UID); err != nil {
		k.log.Warn("take back CPUs", "pod", podText(pod), "err", err)
	}
	return statusReason{"UnexpectedAdmissionError", fmt.Sprintf("Pod was rejected: Allocate failed due to %v, which is unexpected", err)}, false
}

func (k *Kubelet) freeDevices(uid types.UID) error {
	if k.devices == nil {
		return nil
	}
	return k.devices.Free(uid)
}

// sweepDevices takes back what pods had that nobody knows; k.mu is held.
func (k *Kubelet) sweepDevices(known map[types.UID]bool) {
	if k.devices == nil {
		return
	}
	for _, uid := range k.devices.Pods() {
		if known[uid] || k.workers[uid] != nil {
			continue
		}
		if err := k.devices.Free(uid); err != nil {
			k.log.Warn("take back devices", "uid", uid, "err", err)
		}
	}
}

// addDevices completes a container's configuration with what plugins said; its
// own environment comes after and wins.
func (k *Kubelet) addDevices(ctx context.Context, pod *corev1.Pod, c *corev1.Container, config *cri.ContainerConfig) error {
	if k.devices == nil {
		return nil
	}
	use, err := k.devices.Use(ctx, pod, c)
	if err != nil || use == nil {
		return err
	}
	config.Envs = append(config.Envs, use.Envs...)
	config.Devices, config.CDIDevices = use.Devices, use.CDI
	config.Mounts = append(use.Mounts, config.Mounts...)
	for key, value := range use.Annotations {
		if _, own := config.Annotations[key]; !own {
			config.Annotations[key] = value
		}
	}
	return nil
}

// followDevices writes the node's status as soon as there are other devices.
func (n *node) followDevices(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.news:
			if err := n.writeStatus(ctx); err != nil && ctx.Err() == nil {
				n.k.log.Warn("write the node's devices", "err", err)
			}
		}
	}
}

// others are the extended resources that the API says the node has.
func (n *node) others() corev1.ResourceList {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := corev1.ResourceList{}
	if n.object == nil {
		return list
	}
	for name, q := range n.object.Status.Allocatable {
		if devices.Extended(string(name)) {
			list[name] = q
		}
	}
	return list
}

// extend adds to a node's status the resources that plugins offer, and leaves
// those that somebody else has written there. A resource whose plugin has gone
// for good is there with nothing.
func (n *node) extend(s, old *corev1.NodeStatus) {
	for name, q := range old.Capacity {
		if devices.Extended(string(name)) {
			s.Capacity[name], s.Allocatable[name] = q, q
		}
	}
	if n.k.devices == nil {
		return
	}
	capacity, allocatable, gone := n.k.devices.Capacity()
	n.mu.Lock()
	for _, name := range gone {
		n.dropped[corev1.ResourceName(name)] = true
	}
	for name := range n.dropped {
		s.Capacity[name], s.Allocatable[name] = *resource.NewQuantity(0, resource.DecimalSI), *resource.NewQuantity(0, resource.DecimalSI)
	}
	n.mu.Unlock()
	maps.Copy(s.Capacity, capacity)
	maps.Copy(s.Allocatable, allocatable)
}
