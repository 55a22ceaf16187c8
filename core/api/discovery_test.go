package api

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// upstream reads a discovery document that the Kubernetes module has of its own
// server.
func upstream(t *testing.T, name string, into any) {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes").Output()
	require.NoError(t, err)
	data, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "api", "discovery", name))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, into))
}

// What klab serves, it describes as the real server does; only the hashes of
// storage versions are missing.
func TestDiscoveryIsUpstreams(t *testing.T) {
	for _, gv := range Groups() {
		if gv == metricsv1beta1.SchemeGroupVersion {
			continue // that one is metrics-server's
		}
		name := "apis__" + gv.Group + "__" + gv.Version + ".json"
		if gv.Group == "" {
			name = "api__v1.json"
		}
		var theirs metav1.APIResourceList
		upstream(t, name, &theirs)
		entries := map[string]metav1.APIResource{}
		for _, r := range theirs.APIResources {
			r.StorageVersionHash = ""
			entries[r.Name] = r
		}
		for _, r := range APIResourceList(gv).APIResources {
			require.Equal(t, entries[r.Name], r, gv)
		}
	}
}

func TestAggregatedDiscoveryIsUpstreams(t *testing.T) {
	var theirs apidiscoveryv2.APIGroupDiscoveryList
	upstream(t, "aggregated_v2.json", &theirs)
	entries := map[string]apidiscoveryv2.APIResourceDiscovery{}
	for _, group := range theirs.Items {
		for _, version := range group.Versions {
			for _, r := range version.Resources {
				entries[group.Name+"/"+version.Version+"/"+r.Resource] = r
			}
		}
	}
	served := append(APIGroupDiscoveryList(true).Items, APIGroupDiscoveryList(false).Items...)
	require.Len(t, served, len(Groups()))
	for _, group := range served {
		for _, version := range group.Versions {
			for _, r := range version.Resources {
				want, ok := entries[group.Name+"/"+version.Version+"/"+r.Resource]
				if group.Name != "" && group.Name != metricsv1beta1.GroupName {
					require.True(t, ok, r.Resource)
				}
				if !ok {
					continue // the module's list has no core group
				}
				require.Equal(t, want.ResponseKind, r.ResponseKind)
				require.Equal(t, want.Verbs, r.Verbs)
				require.Equal(t, want.ShortNames, r.ShortNames)
				require.Equal(t, want.Scope, r.Scope)
				require.Equal(t, want.Subresources, r.Subresources)
			}
		}
	}
}

// So that kubectl top finds what it looks for.
func TestDiscoveryOfMetricsIsMetricsServers(t *testing.T) {
	require.Equal(t, []metav1.APIResource{
		{Name: "nodes", Kind: "NodeMetrics", Verbs: metav1.Verbs{"get", "list"}},
		{Name: "pods", Kind: "PodMetrics", Namespaced: true, Verbs: metav1.Verbs{"get", "list"}},
	}, APIResourceList(metricsv1beta1.SchemeGroupVersion).APIResources)
}

func TestGroups(t *testing.T) {
	require.Equal(t, "v1", Groups()[0].String())
	require.Len(t, APIGroupList().Groups, len(Groups())-1)
	require.Equal(t, "apps/v1", APIGroup("apps").PreferredVersion.GroupVersion)
	require.Nil(t, APIGroup("batch"))
	require.Nil(t, APIResourceList(Groups()[0].WithKind("").GroupKind().WithVersion("v2").GroupVersion()))
	require.Equal(t, "127.0.0.1:6443", APIVersions("127.0.0.1:6443").ServerAddressByClientCIDRs[0].ServerAddress)
}
