package kubelet

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

// What has no end when nothing runs any more has failed; what had not been
// begun yet waits for ever.
func TestLost(t *testing.T) {
	waits := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "PodInitializing"}}
	ended := func(code int32) corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code}}
	}
	for _, c := range []struct {
		name       string
		init, main []corev1.ContainerState
		lost       string // the containers that failed so
	}{
		{"without init containers", nil, []corev1.ContainerState{waits, ended(0)}, "main0"},
		{"nothing was begun", []corev1.ContainerState{waits, waits}, []corev1.ContainerState{waits}, "init0"},
		{"the first init container had ended", []corev1.ContainerState{ended(0), waits}, []corev1.ContainerState{waits}, ""},
		{"all init containers had ended", []corev1.ContainerState{ended(0), ended(0)}, []corev1.ContainerState{waits}, "main0"},
	} {
		pod, s := &corev1.Pod{}, &corev1.PodStatus{Phase: corev1.PodPending}
		for i, state := range c.init {
			name := "init" + string(rune('0'+i))
			pod.Spec.InitContainers = append(pod.Spec.InitContainers, corev1.Container{Name: name})
			s.InitContainerStatuses = append(s.InitContainerStatuses, corev1.ContainerStatus{Name: name, State: state})
		}
		for i, state := range c.main {
			name := "main" + string(rune('0'+i))
			pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: name})
			s.ContainerStatuses = append(s.ContainerStatuses, corev1.ContainerStatus{Name: name, State: state})
		}
		lost(pod, s)
		var names []string
		for _, status := range append(s.InitContainerStatuses, s.ContainerStatuses...) {
			if end := status.State.Terminated; end != nil && end.Reason == "ContainerStatusUnknown" {
				require.EqualValues(t, 137, end.ExitCode)
				names = append(names, status.Name)
			}
		}
		require.Equal(t, c.lost, strings.Join(names, " "), c.name)
		require.Equal(t, corev1.PodFailed, s.Phase, c.name)
	}
}

func TestMessagesOfAPodTogether(t *testing.T) {
	pod, s := &corev1.Pod{}, &corev1.PodStatus{}
	for range 4 {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{})
		s.ContainerStatuses = append(s.ContainerStatuses, corev1.ContainerStatus{
			LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: strings.Repeat("x", maxMessage)}}})
	}
	shorten(pod, s)
	require.Len(t, s.ContainerStatuses[3].LastTerminationState.Terminated.Message, 3<<10)
}
