package kubelet

import (
	"fmt"
	"os"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// dnsConfig is the pod's resolver configuration. ("DNS for Services and Pods",
// "Pod's DNS Policy" and "Pod's DNS Config".)
func (k *Kubelet) dnsConfig(pod *corev1.Pod) *cri.DNSConfig {
	policy := pod.Spec.DNSPolicy
	if policy == corev1.DNSClusterFirst && pod.Spec.HostNetwork {
		policy = corev1.DNSDefault
	}
	if policy == corev1.DNSClusterFirstWithHostNet {
		policy = corev1.DNSClusterFirst
	}
	if policy == corev1.DNSClusterFirst && len(k.ClusterDNS) == 0 {
		policy = corev1.DNSDefault // there is no cluster DNS: the node's servers are better than none
	}
	dns := &cri.DNSConfig{}
	node := parseResolvConf(k.ResolvConf)
	switch policy {
	case corev1.DNSNone:
	case corev1.DNSClusterFirst:
		dns.Servers = slices.Clone(k.ClusterDNS)
		dns.Searches = append([]string{pod.Namespace + ".svc." + k.ClusterDomain, "svc." + k.ClusterDomain, k.ClusterDomain}, node.Searches...)
		dns.Options = []string{"ndots:5"}
	default:
		dns = node
	}
	if more := pod.Spec.DNSConfig; more != nil {
		dns.Servers = unique(append(dns.Servers, more.Nameservers...))
		dns.Searches = unique(append(dns.Searches, more.Searches...))
		dns.Options = mergeOptions(dns.Options, more.Options)
	}
	return dns
}

func unique(list []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// mergeOptions lets the pod's options replace those with the same name.
func mergeOptions(old []string, more []corev1.PodDNSConfigOption) []string {
	for _, o := range more {
		text := o.Name
		if o.Value != nil && *o.Value != "" {
			text += ":" + *o.Value
		}
		old = slices.DeleteFunc(old, func(s string) bool {
			name, _, _ := strings.Cut(s, ":")
			return name == o.Name
		})
		old = append(old, text)
	}
	return old
}

// parseResolvConf reads a resolv.conf(5); a missing file is an empty one.
func parseResolvConf(path string) *cri.DNSConfig {
	dns := &cri.DNSConfig{}
	text, err := os.ReadFile(path)
	if err != nil {
		return dns
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			dns.Servers = append(dns.Servers, fields[1])
		case "search":
			dns.Searches = fields[1:]
		case "options":
			dns.Options = append(dns.Options, fields[1:]...)
		}
	}
	return dns
}

func formatResolvConf(dns *cri.DNSConfig) string {
	var b strings.Builder
	if len(dns.Searches) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(dns.Searches, " "))
	}
	for _, server := range dns.Servers {
		fmt.Fprintf(&b, "nameserver %s\n", server)
	}
	if len(dns.Options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(dns.Options, " "))
	}
	return b.String()
}

// formatHosts is the /etc/hosts of a pod that has a network of its own.
func (k *Kubelet) formatHosts(pod *corev1.Pod, ips []string) string {
	var b strings.Builder
	b.WriteString("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" +
		"fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n")
	name, domain := k.hostname(pod)
	for _, ip := range ips {
		if domain != "" {
			fmt.Fprintf(&b, "%s\t%s.%s\t%s\n", ip, name, domain, name)
		} else {
			fmt.Fprintf(&b, "%s\t%s\n", ip, name)
		}
	}
	return b.String() + formatAliases(pod.Spec.HostAliases)
}

func formatAliases(aliases []corev1.HostAlias) string {
	if len(aliases) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("\n# Entries added by HostAliases.\n")
	for _, a := range aliases {
		fmt.Fprintf(&b, "%s\t%s\n", a.IP, strings.Join(a.Hostnames, "\t"))
	}
	return b.String()
}
