package kubelet

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// podField is a field of the pod as the downward API shows it. ("Downward
// API", "Available fields".)
func (k *Kubelet) podField(pod *corev1.Pod, path string, ips []string) (string, error) {
	if field, key, ok := subscript(path); ok {
		switch field {
		case "metadata.annotations":
			return pod.Annotations[key], nil
		case "metadata.labels":
			return pod.Labels[key], nil
		}
		return "", fmt.Errorf("fieldPath %q does not support subscript", path)
	}
	switch path {
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	case "metadata.labels":
		return lines(pod.Labels), nil
	case "metadata.annotations":
		return lines(pod.Annotations), nil
	case "spec.nodeName":
		return k.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.hostIP":
		return k.NodeIP.String(), nil
	case "status.hostIPs":
		return strings.Join(k.nodeIPs(), ","), nil
	case "status.podIP":
		if len(ips) > 0 {
			return ips[0], nil
		}
		return "", nil
	case "status.podIPs":
		return strings.Join(ips, ","), nil
	}
	return "", fmt.Errorf("unsupported fieldPath: %v", path)
}

// subscript splits metadata.labels['key'].
func subscript(path string) (field, key string, ok bool) {
	field, rest, found := strings.Cut(path, "['")
	if !found || !strings.HasSuffix(rest, "']") {
		return "", "", false
	}
	return field, strings.TrimSuffix(rest, "']"), true
}

func lines(m map[string]string) string {
	var b strings.Builder
	for _, key := range sortedKeys(m) {
		fmt.Fprintf(&b, "%s=%q\n", key, m[key])
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// resourceField is a request or a limit of a container in units of the
// divisor, rounded up. What has no limit of its own has the pod's, or else what
// the node has for pods.
func (k *Kubelet) resourceField(pod *corev1.Pod, c *corev1.Container, ref *corev1.ResourceFieldSelector) (string, error) {
	if ref.ContainerName != "" {
		if c = findContainer(pod, ref.ContainerName); c == nil {
			return "", fmt.Errorf("container %s not found", ref.ContainerName)
		}
	}
	kind, word, _ := strings.Cut(ref.Resource, ".")
	name := corev1.ResourceName(word)
	common := name == corev1.ResourceCPU || name == corev1.ResourceMemory || name == corev1.ResourceEphemeralStorage
	if kind != "limits" && kind != "requests" || !common && !strings.HasPrefix(word, corev1.ResourceHugePagesPrefix) {
		return "", fmt.Errorf("unsupported container resource : %v", ref.Resource)
	}
	quantity := c.Resources.Requests[name]
	if kind == "limits" {
		quantity = c.Resources.Limits[name]
		if quantity.IsZero() && common {
			quantity = k.outerLimit(pod, name)
		}
	}
	divisor := ref.Divisor
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	if name == corev1.ResourceCPU {
		return fmt.Sprint(ceil(quantity.MilliValue(), divisor.MilliValue())), nil
	}
	return fmt.Sprint(ceil(quantity.Value(), divisor.Value())), nil
}

// outerLimit is what holds for a container without a limit of its own.
func (k *Kubelet) outerLimit(pod *corev1.Pod, name corev1.ResourceName) resource.Quantity {
	node := k.node.allocatable()[name]
	if r := pod.Spec.Resources; r != nil && name != corev1.ResourceEphemeralStorage && !node.IsZero() {
		if limit := r.Limits[name]; !limit.IsZero() {
			return limit
		}
	}
	return node
}

func ceil(a, b int64) int64 {
	if b == 0 {
		return a
	}
	return (a + b - 1) / b
}
