package archtest

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The judge imports the official tests as they are: of one release, with the
// staging modules of that release, and nothing in their place.
func TestJudgeIsOneUnchangedRelease(t *testing.T) {
	cmd := exec.Command("go", "mod", "edit", "-json")
	cmd.Dir = filepath.Join(root(t), "tests/conformance")
	out, err := cmd.Output()
	require.NoError(t, err)
	var mod struct {
		Require []struct{ Path, Version string }
		Replace []struct{ Old struct{ Path string } }
	}
	require.NoError(t, json.Unmarshal(out, &mod))
	require.Empty(t, mod.Replace)
	versions := map[string]string{}
	for _, r := range mod.Require {
		versions[r.Path] = r.Version
	}
	release, ok := strings.CutPrefix(versions["k8s.io/kubernetes"], "v1.")
	require.True(t, ok, "the suite is not required")
	for _, staging := range []string{"api", "apimachinery", "apiserver", "client-go", "component-base", "kubectl", "kubelet", "pod-security-admission"} {
		require.Equal(t, "v0."+release, versions["k8s.io/"+staging], staging)
	}
}
