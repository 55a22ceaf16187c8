package kubelet

import (
	"fmt"
	"os"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Limits of a resolver's configuration. (resolv.conf(5); "DNS for Services and
// Pods", "DNS search domain list limits".)
const (
	maxNameservers = 3
	maxSearches    = 32
	maxSearchChars = 2048
	maxDomain      = 253
)

// dnsConfig is the pod's resolver configuration, and what the pod's events are
// to say about it. ("DNS for Services and Pods", "Pod's DNS Policy" and "Pod's
// DNS Config".)
func (k *Kubelet) dnsConfig(pod *corev1.Pod) (*cri.DNSConfig, []statusReason) {
	dns := parseResolvConf(k.ResolvConf)
	switch {
	case pod.Spec.DNSPolicy == corev1.DNSNone:
		dns = &cri.DNSConfig{}
	case pod.Spec.DNSPolicy == corev1.DNSDefault, pod.Spec.DNSPolicy == corev1.DNSClusterFirst && pod.Spec.HostNetwork:
	case len(k.ClusterDNS) == 0: // a lab without DNS: the node's servers are better than none
	default:
		dns.Servers = slices.Clone(k.ClusterDNS)
		dns.Searches = unique(append([]string{pod.Namespace + ".svc." + k.ClusterDomain, "svc." + k.ClusterDomain, k.ClusterDomain}, dns.Searches...))
		dns.Options = []string{"ndots:5"}
	}
	if more := pod.Spec.DNSConfig; more != nil {
		dns.Servers = unique(append(dns.Servers, more.Nameservers...))
		dns.Searches = unique(append(dns.Searches, more.Searches...))
		dns.Options = mergeOptions(dns.Options, more.Options)
	}
	return dns, limitDNS(dns)
}

// limitDNS leaves out what resolvers would not read, and says so.
func limitDNS(dns *cri.DNSConfig) []statusReason {
	var warnings []statusReason
	if len(dns.Servers) > maxNameservers {
		dns.Servers = dns.Servers[:maxNameservers]
		warnings = append(warnings, statusReason{"DNSConfigForming",
			"Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: " + strings.Join(dns.Servers, " ")})
	}
	kept, length := []string{}, -1
	for _, search := range dns.Searches[:min(len(dns.Searches), maxSearches)] {
		if len(search) > maxDomain {
			continue
		}
		if length += 1 + len(search); length > maxSearchChars {
			break
		}
		kept = append(kept, search)
	}
	if len(kept) < len(dns.Searches) {
		warnings = append(warnings, statusReason{"DNSConfigForming",
			"Search Line limits were exceeded, some search paths have been omitted, the applied search line is: " + strings.Join(kept, " ")})
	}
	dns.Searches = kept
	return warnings
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
		old = addOptions(old, text)
	}
	return old
}

// addOptions replaces options by those with the same name.
func addOptions(old []string, more ...string) []string {
	for _, o := range more {
		name, _, _ := strings.Cut(o, ":")
		old = slices.DeleteFunc(slices.Clone(old), func(s string) bool {
			other, _, _ := strings.Cut(s, ":")
			return other == name
		})
		old = append(old, o)
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
		case "search": // of several the last one counts
			dns.Searches = nil
			for _, domain := range fields[1:] {
				if domain != "." {
					dns.Searches = append(dns.Searches, strings.TrimSuffix(domain, "."))
				}
			}
		case "options":
			dns.Options = addOptions(dns.Options, fields[1:]...)
		}
	}
	return dns
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
