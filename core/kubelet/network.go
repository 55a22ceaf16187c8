package kubelet

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
)

// network is what the runtime says about the node's network: without one, only
// pods that use the node's own can begin. (Kubernetes, "Network Plugins": the
// node is not Ready.)
type network struct {
	k *Kubelet

	mu      sync.Mutex
	trouble error
}

// look asks the runtime; the words are upstream's.
func (n *network) look(ctx context.Context) error {
	err := n.ask(ctx)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.trouble = err
	return err
}

func (n *network) ask(ctx context.Context) error {
	status, err := n.k.Runtime.RuntimeStatus(ctx)
	if err != nil {
		return fmt.Errorf("container runtime is down: %w", err)
	}
	for _, c := range status.GetStatus().GetConditions() {
		if c.Type == "NetworkReady" && !c.Status {
			return fmt.Errorf("container runtime network not ready: NetworkReady=false reason:%s message:%s", c.Reason, c.Message)
		}
	}
	return nil
}

// fails says why a pod cannot have a sandbox because of the network. What was
// wrong when the node's status was made is looked at again.
func (n *network) fails(ctx context.Context, pod *corev1.Pod) error {
	n.mu.Lock()
	trouble := n.trouble
	n.mu.Unlock()
	if trouble == nil || pod.Spec.HostNetwork {
		return nil
	}
	if err := n.look(ctx); err != nil {
		return fmt.Errorf("network is not ready: %w", err)
	}
	return nil
}
