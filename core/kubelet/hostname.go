package kubelet

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// maxHostname is the kernel's limit (sethostname(2)), less the final zero.
const maxHostname = 63

// hostname is the pod's host name, without a domain, and with a subdomain its
// domain. ("DNS for Services and Pods", "Pod's hostname and subdomain fields".)
func (k *Kubelet) hostname(pod *corev1.Pod) (name, domain string) {
	if pod.Spec.HostnameOverride != nil {
		return shortName(*pod.Spec.HostnameOverride), ""
	}
	name = pod.Name
	if pod.Spec.Hostname != "" {
		name = pod.Spec.Hostname
	}
	if pod.Spec.Subdomain != "" {
		domain = pod.Spec.Subdomain + "." + pod.Namespace + ".svc." + k.ClusterDomain
	}
	return shortName(name), domain
}

func shortName(name string) string {
	if len(name) > maxHostname {
		name = strings.TrimRight(name[:maxHostname], "-.")
	}
	return name
}

// kernelHostname is what uname(2) says in the pod: the node's own name in its
// network, else the pod's, in full if it wants that and the kernel can take it.
func (k *Kubelet) kernelHostname(pod *corev1.Pod) (string, error) {
	if pod.Spec.HostNetwork {
		return k.NodeName, nil
	}
	name, domain := k.hostname(pod)
	if domain == "" || pod.Spec.SetHostnameAsFQDN == nil || !*pod.Spec.SetHostnameAsFQDN {
		return name, nil
	}
	name += "." + domain
	if len(name) > maxHostname+1 {
		return "", fmt.Errorf("failed to construct FQDN from pod hostname and cluster domain, FQDN %s is too long (%d characters is the max, %d characters requested)",
			name, maxHostname+1, len(name))
	}
	return name, nil
}

// checkSandbox says what is wrong with the names that the pod is to have, and
// refuses a host name that the kernel cannot take.
func (w *podWorker) checkSandbox(ctx context.Context, pod *corev1.Pod) error {
	if _, err := w.k.kernelHostname(pod); err != nil {
		return fmt.Errorf("failed to generate sandbox config for pod %q: %w", podText(pod), err)
	}
	_, warnings := w.k.dnsConfig(pod)
	for _, e := range warnings {
		w.k.events.pod(ctx, pod, corev1.EventTypeWarning, e.Reason, "%s", e.Message)
	}
	return nil
}
