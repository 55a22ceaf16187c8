package kubelet

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestConfigz(t *testing.T) {
	k := &Kubelet{Config: Config{ClusterDomain: "cluster.local"}}
	k.node = &node{k: k, capacity: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("17")}}
	require.NoError(t, k.SetArgs([]string{"eviction-hard=memory.available<1Mi", "kube-reserved=cpu=100m"}))
	w := httptest.NewRecorder()
	k.handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/configz", nil))
	for _, want := range []string{`"kubeletconfig":{"kind":"KubeletConfiguration"`, `"maxPods":17`, `"evictionHard":{"memory.available":"1Mi"}`,
		`"kubeReserved":{"cpu":"100m"}`, `"evictionPressureTransitionPeriod":"5m0s"`, `"cpuManagerPolicy":"none"`} {
		require.Contains(t, w.Body.String(), want)
	}
}
