package api

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Kubernetes' rules are to come without Kubernetes' server: what this package
// pulls in is linked into every klab, and its initialisation is part of every
// start.
func TestDependencies(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	require.NoError(t, err)
	deps := strings.Fields(string(out))
	require.Less(t, len(deps), 800)
	for _, dep := range deps {
		for _, banned := range []string{
			"k8s.io/apiserver/pkg/server", "k8s.io/apiserver/pkg/registry", "k8s.io/kubernetes/pkg/registry",
			"github.com/google/cel-go", "go.etcd.io/", "github.com/klab-project/klab/core/store",
		} {
			require.False(t, strings.HasPrefix(dep, banned), dep)
		}
	}
}
