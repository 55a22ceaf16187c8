package kubelet

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// checkRuntimeClass looks up the pod's RuntimeClass and refuses a handler that
// the runtime does not have. ("Runtime Class".)
func (k *Kubelet) checkRuntimeClass(ctx context.Context, pod *corev1.Pod) error {
	if pod.Spec.RuntimeClassName == nil || *pod.Spec.RuntimeClassName == "" {
		return nil
	}
	name := *pod.Spec.RuntimeClassName
	class, err := k.Client.NodeV1().RuntimeClasses().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return err
	}
	if err != nil {
		return fmt.Errorf("failed to lookup RuntimeClass %s: %w", name, err)
	}
	status, err := k.Runtime.RuntimeStatus(ctx)
	if err != nil {
		return fmt.Errorf("which handlers the runtime has: %w", err)
	}
	known := slices.ContainsFunc(status.RuntimeHandlers, func(h *cri.RuntimeHandler) bool { return h.Name == class.Handler })
	if !known {
		return fmt.Errorf("failed to get sandbox runtime: no runtime for %q is configured", class.Handler)
	}
	return nil
}
