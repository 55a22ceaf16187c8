package kubelet

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// PodName names a pod, for what is asked of the kubelet about one.
type PodName struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid,omitempty"`
}

// failedNetworkCheck is the reason of the Event about a pod that is not attached
// to the network as it was. Upstream has none: no runtime calls CHECK by itself.
const failedNetworkCheck = "FailedNetworkCheck"

// serveNetworkCheck asks the plugins of the node's network whether a pod is
// attached as they left it.
func (k *Kubelet) serveNetworkCheck(w http.ResponseWriter, r *http.Request) {
	var p PodName
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<12)).Decode(&p); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if k.CheckNetwork == nil {
		http.Error(w, "this node's runtime is not klab's: it calls network plugins by itself, and nobody else may ask them", http.StatusNotImplemented)
		return
	}
	if err := k.checkNetwork(r.Context(), p); err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
	}
}

// checkNetwork asks, and writes an Event about the pod if something differs.
func (k *Kubelet) checkNetwork(ctx context.Context, p PodName) error {
	err := k.CheckNetwork(ctx, p.Namespace, p.Name)
	if err != nil && ctx.Err() == nil {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, UID: types.UID(p.UID)}}
		k.events.pod(ctx, pod, corev1.EventTypeWarning, failedNetworkCheck, "The pod is not attached to the network as it was: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return err
}

// checkNetworks looks once at all pods that an earlier kubelet left running: what
// happened to their network meanwhile nobody has seen.
func (k *Kubelet) checkNetworks(ctx context.Context) {
	if k.CheckNetwork == nil {
		return
	}
	boxes, err := k.Runtime.ListPodSandbox(ctx)
	if err != nil {
		k.log.Error("whether pods are attached to the network is not looked at", "err", err)
		return
	}
	for _, box := range boxes {
		status, err := k.Runtime.PodSandboxStatus(ctx, box.Id)
		own := status.GetLinux().GetNamespaces().GetOptions().GetNetwork() != cri.NamespaceMode_NODE
		if err != nil || ctx.Err() != nil || !own || box.State != cri.PodSandboxState_SANDBOX_READY || box.Labels[labelPodUID] == "" {
			continue
		}
		p := PodName{box.GetMetadata().GetNamespace(), box.GetMetadata().GetName(), box.GetMetadata().GetUid()}
		if err := k.checkNetwork(ctx, p); err != nil {
			k.log.Info("a pod is not attached to the network as it was", "pod", fmt.Sprint(p.Namespace, "/", p.Name), "err", err)
		}
	}
}
