package kubelet

import (
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// User and group ids of pods with a user namespace of their own. Each has a
// range of the node's ids for itself, as long as it lives, also when the
// kubelet starts anew. ("User Namespaces".)
const (
	idsPerPod   = 65536
	rangesANode = 128 // more than a node has pods
)

// idRanges gives pods their ranges. Range 0 is the machine's own users. The
// nodes of a lab are on one machine: by its address each has other ranges.
type idRanges struct {
	first uint32 // range, not id
	used  map[types.UID]uint32
}

// newIDRanges takes up what earlier kubelets have given.
func newIDRanges(k *Kubelet) *idRanges {
	r := &idRanges{first: 1, used: map[types.UID]uint32{}}
	if k.NodeIP.Is4() {
		last := k.NodeIP.As4()[3]
		r.first += uint32(last) * rangesANode
	}
	dirs, _ := os.ReadDir(k.Root + "/pods")
	for _, dir := range dirs {
		uid := types.UID(dir.Name())
		if c, err := k.readCheckpoint(uid); err != nil {
			k.log.Warn("read checkpoint", "err", err)
		} else if c.UserNamespace != 0 {
			r.used[uid] = c.UserNamespace
		}
	}
	return r
}

// take returns the first id of the pod's range.
func (r *idRanges) take(uid types.UID) (uint32, error) {
	if id, ok := r.used[uid]; ok {
		return id, nil
	}
	taken := map[uint32]bool{}
	for _, id := range r.used {
		taken[id] = true
	}
	for i := range uint32(rangesANode) {
		if id := (r.first + i) * idsPerPod; !taken[id] {
			r.used[uid] = id
			return id, nil
		}
	}
	return 0, fmt.Errorf("could not find an empty slot to allocate a user namespace")
}

// userNamespace is the pod's user namespace, which it is given the first time.
func (w *podWorker) userNamespace(pod *corev1.Pod) (*cri.UserNamespace, error) {
	if pod.Spec.HostUsers == nil || *pod.Spec.HostUsers {
		return &cri.UserNamespace{Mode: cri.NamespaceMode_NODE}, nil
	}
	w.k.mu.Lock()
	first, err := w.k.ids.take(w.uid)
	w.k.mu.Unlock()
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	known := w.check.UserNamespace == first
	w.mu.Unlock()
	if !known {
		if err := w.remember(func(c *checkpoint) { c.UserNamespace = first }); err != nil {
			return nil, err
		}
	}
	ids := []*cri.IDMapping{{HostId: first, ContainerId: 0, Length: idsPerPod}}
	return &cri.UserNamespace{Mode: cri.NamespaceMode_POD, Uids: ids, Gids: ids}, nil
}
