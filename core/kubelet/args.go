package kubelet

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/klab-project/klab/core/kubelet/eviction"
)

// flags are those of upstream's kubelet that this one has too, and what each
// sets. "capacity" is its own: what the node has, instead of its machine.
var flags = map[string]func(*Config, string) error{
	"capacity":           func(c *Config, v string) error { return setAmounts(&c.Capacity, v) },
	"kube-reserved":      func(c *Config, v string) error { return setAmounts(&c.Resources.KubeReserved, v) },
	"system-reserved":    func(c *Config, v string) error { return setAmounts(&c.Resources.SystemReserved, v) },
	"cpu-manager-policy": func(c *Config, v string) error { c.Resources.CPUPolicy = v; return nil },
	"reserved-cpus":      func(c *Config, v string) error { c.Resources.ReservedCPUs = v; return nil },
	"seccomp-default": func(c *Config, v string) (err error) {
		c.SeccompDefault, err = strconv.ParseBool(v)
		return err
	},
	"pod-max-pids": func(c *Config, v string) (err error) {
		c.PodPids, err = strconv.ParseInt(v, 10, 64)
		return err
	},
	"cluster-dns":                func(c *Config, v string) error { return setServers(&c.ClusterDNS, v) },
	"cluster-domain":             func(c *Config, v string) error { c.ClusterDomain = strings.Trim(v, "."); return nil },
	"resolv-conf":                func(c *Config, v string) error { c.ResolvConf = v; return nil },
	"max-pods":                   func(c *Config, v string) error { return setAmounts(&c.Capacity, "pods="+v) },
	"eviction-hard":              func(c *Config, v string) error { return setSignals(&c.Resources.Eviction.Hard, v, "<") },
	"eviction-soft":              func(c *Config, v string) error { return setSignals(&c.Resources.Eviction.Soft, v, "<") },
	"eviction-soft-grace-period": func(c *Config, v string) error { return setSignals(&c.Resources.Eviction.SoftGrace, v, "=") },
	"eviction-minimum-reclaim":   func(c *Config, v string) error { return setSignals(&c.Resources.Eviction.MinReclaim, v, "=") },
	"eviction-pressure-transition-period": func(c *Config, v string) (err error) {
		c.Resources.Eviction.Transition, err = time.ParseDuration(v)
		return err
	},
	"eviction-max-pod-grace-period": func(c *Config, v string) error {
		seconds, err := strconv.Atoi(v)
		c.Resources.Eviction.MaxPodGrace = time.Duration(seconds) * time.Second
		return err
	},
}

// SetArgs sets what upstream's kubelet takes as flags, each as NAME=VALUE, with
// or without hyphens before it.
func (c *Config) SetArgs(args []string) error {
	for _, arg := range args {
		name, value, ok := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		set := flags[name]
		if !ok || set == nil {
			return fmt.Errorf("a kubelet cannot be told %q: it is NAME=VALUE, and the names are %s", arg, strings.Join(slices.Sorted(maps.Keys(flags)), ", "))
		}
		if err := set(c, value); err != nil {
			return fmt.Errorf("kubelet's %s: %w", name, err)
		}
	}
	_, err := c.Resources.Eviction.Thresholds()
	return err
}

// setServers reads "10.96.0.10,192.0.2.10".
func setServers(list *[]string, text string) error {
	*list = nil
	for part := range strings.SplitSeq(text, ",") {
		if _, err := netip.ParseAddr(part); err != nil && text != "" {
			return fmt.Errorf("%q is no address of a DNS server", part)
		}
		if text != "" {
			*list = append(*list, part)
		}
	}
	return nil
}

// setAmounts reads "cpu=1,memory=1Gi".
func setAmounts(list *corev1.ResourceList, text string) error {
	if *list == nil {
		*list = corev1.ResourceList{}
	}
	for part := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(part, "=")
		q, err := resource.ParseQuantity(value)
		if !ok || err != nil || q.Sign() < 0 {
			return fmt.Errorf("%q is not like memory=1Gi", part)
		}
		(*list)[corev1.ResourceName(name)] = q
	}
	return nil
}

// setSignals reads "memory.available<100Mi,nodefs.available<10%".
func setSignals(list *map[string]string, text, between string) error {
	*list = map[string]string{}
	for part := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(part, between)
		if text == "" {
			break
		}
		if !ok || eviction.Signal(name).Condition() == "" {
			return fmt.Errorf("%q is not like memory.available%s…", part, between)
		}
		(*list)[name] = value
	}
	return nil
}
