package store

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The store knows keys and bytes, and nothing of what they mean.
func TestDependencies(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	require.NoError(t, err)
	for _, dep := range strings.Fields(string(out)) {
		require.False(t, strings.HasPrefix(dep, "k8s.io/api"), dep)
		require.False(t, strings.HasPrefix(dep, "github.com/klab-project/klab/") && !strings.HasSuffix(dep, "/core/store"), dep)
	}
}
