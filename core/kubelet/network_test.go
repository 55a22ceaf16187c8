package kubelet_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Without a network the node is not Ready, in upstream's words; pods wait and
// say so, those of the node's own network do not. When it is there again they
// begin.
func TestNodeWithoutANetwork(t *testing.T) {
	inLab(t, func(l *lab) {
		network := func(trouble string) corev1.NodeCondition {
			l.runtime.mu.Lock()
			l.runtime.noNetwork = trouble
			l.runtime.mu.Unlock()
			l.pass(20 * time.Second)
			n, err := l.admin.CoreV1().Nodes().Get(context.Background(), "node-1", metav1.GetOptions{})
			require.NoError(t, err)
			return n.Status.Conditions[len(n.Status.Conditions)-1]
		}
		require.Equal(t, corev1.ConditionTrue, network("").Status)
		ready := network("Network plugin returns error: cni plugin not initialized")
		require.Equal(t, corev1.ConditionFalse, ready.Status)
		require.Equal(t, "KubeletNotReady", ready.Reason)
		require.Equal(t, "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized", ready.Message)

		l.run("p", "sleep 9999")
		l.run("own", "sleep 9999", func(p *corev1.Pod) { p.Spec.HostNetwork = true })
		require.Equal(t, corev1.PodRunning, l.pod("own").Status.Phase)
		require.Equal(t, corev1.PodPending, l.pod("p").Status.Phase)
		require.Contains(t, l.messages("p", "NetworkNotReady")[0], "network is not ready: container runtime network not ready: NetworkReady=false")

		require.Equal(t, corev1.ConditionTrue, network("").Status)
		l.pass(20 * time.Second)
		require.Equal(t, corev1.PodRunning, l.pod("p").Status.Phase)
	})
}
