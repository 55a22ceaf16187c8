package netlab_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A library of its own: nothing of Kubernetes, and of klab nothing but steps.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "./...").CombinedOutput()
	require.NoError(t, err, string(out))
	for pkg := range strings.Lines(string(out)) {
		pkg = strings.TrimSpace(pkg)
		own := strings.TrimPrefix(pkg, "github.com/klab-project/klab/")
		if own != pkg && !strings.HasPrefix(own, "netlab") {
			require.Equal(t, "core/step", own)
		}
		require.False(t, strings.HasPrefix(pkg, "k8s.io/"), pkg)
	}
}
