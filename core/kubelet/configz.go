package kubelet

import (
	"encoding/json"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	config "k8s.io/kubelet/config/v1beta1"

	"github.com/klab-project/klab/core/kubelet/eviction"
)

// serveConfigz answers with what the kubelet was told, as a
// KubeletConfiguration; fields that it has no word for are left out.
func (k *Kubelet) serveConfigz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"kubeletconfig": k.configuration()})
}

func (k *Kubelet) configuration() *config.KubeletConfiguration {
	e := k.Resources.Eviction
	if e.Hard == nil {
		e.Hard = eviction.DefaultHard()
	}
	setDefault(&e.Transition, eviction.DefaultTransition)
	c := &config.KubeletConfiguration{
		StaticPodPath:                    k.StaticPods,
		ClusterDomain:                    k.ClusterDomain,
		ClusterDNS:                       k.ClusterDNS,
		ResolverConfig:                   &k.ResolvConf,
		MaxPods:                          int32(k.node.capacity.Pods().Value()),
		PodCIDR:                          k.PodCIDR,
		PodPidsLimit:                     &k.PodPids,
		CPUManagerPolicy:                 k.Resources.CPUPolicy,
		ReservedSystemCPUs:               k.Resources.ReservedCPUs,
		KubeReserved:                     amountTexts(k.Resources.KubeReserved),
		SystemReserved:                   amountTexts(k.Resources.SystemReserved),
		EvictionHard:                     e.Hard,
		EvictionSoft:                     e.Soft,
		EvictionSoftGracePeriod:          e.SoftGrace,
		EvictionMinimumReclaim:           e.MinReclaim,
		EvictionPressureTransitionPeriod: metav1.Duration{Duration: e.Transition},
		EvictionMaxPodGracePeriod:        int32(e.MaxPodGrace / time.Second),
		NodeStatusUpdateFrequency:        metav1.Duration{Duration: statusCheck},
		NodeStatusReportFrequency:        metav1.Duration{Duration: statusAnyway},
		NodeLeaseDurationSeconds:         leaseSeconds,
		ShutdownGracePeriod:              metav1.Duration{Duration: k.Shutdown.Grace},
		ShutdownGracePeriodCriticalPods:  metav1.Duration{Duration: k.Shutdown.Critical},
	}
	c.APIVersion, c.Kind = config.SchemeGroupVersion.String(), "KubeletConfiguration"
	if c.CPUManagerPolicy == "" {
		c.CPUManagerPolicy = "none"
	}
	if k.PodPids == 0 {
		none := int64(-1)
		c.PodPidsLimit = &none
	}
	if k.Listen != nil {
		c.Port = listenPort(k.Listen)
	}
	return c
}

// amountTexts are amounts as flags have them.
func amountTexts(list corev1.ResourceList) map[string]string {
	texts := map[string]string{}
	for name, q := range list {
		texts[string(name)] = q.String()
	}
	return texts
}
