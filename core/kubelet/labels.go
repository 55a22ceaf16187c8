package kubelet

import (
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
)

// Labels and annotations of sandboxes and containers, as upstream's kubelet
// sets them: tools find pods by them, and so does the next kubelet.
const (
	labelPodName       = "io.kubernetes.pod.name"
	labelPodNamespace  = "io.kubernetes.pod.namespace"
	labelPodUID        = "io.kubernetes.pod.uid"
	labelContainerName = "io.kubernetes.container.name"

	annotationHash     = "io.kubernetes.container.hash"
	annotationRestarts = "io.kubernetes.container.restartCount"
	annotationMessage  = "io.kubernetes.container.terminationMessagePath"
	annotationPolicy   = "io.kubernetes.container.terminationMessagePolicy"
	annotationGrace    = "io.kubernetes.pod.terminationGracePeriod"
)

func podLabels(pod *corev1.Pod) map[string]string {
	labels := map[string]string{}
	maps.Copy(labels, pod.Labels)
	labels[labelPodName], labels[labelPodNamespace], labels[labelPodUID] = pod.Name, pod.Namespace, string(pod.UID)
	return labels
}

func sandboxAnnotations(pod *corev1.Pod) map[string]string {
	all := map[string]string{}
	maps.Copy(all, pod.Annotations)
	if grace := pod.Spec.TerminationGracePeriodSeconds; grace != nil {
		all[annotationGrace] = fmt.Sprint(*grace)
	}
	return all
}

func containerLabels(pod *corev1.Pod, c *corev1.Container) map[string]string {
	return map[string]string{
		labelPodName: pod.Name, labelPodNamespace: pod.Namespace, labelPodUID: string(pod.UID), labelContainerName: c.Name,
	}
}

func containerAnnotations(pod *corev1.Pod, c *corev1.Container, attempt int) map[string]string {
	all := map[string]string{
		annotationHash: containerHash(c), annotationRestarts: fmt.Sprint(attempt),
		annotationMessage: c.TerminationMessagePath, annotationPolicy: string(c.TerminationMessagePolicy),
	}
	if grace := pod.Spec.TerminationGracePeriodSeconds; grace != nil {
		all[annotationGrace] = fmt.Sprint(*grace)
	}
	return all
}
