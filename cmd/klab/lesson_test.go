package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLessonAsNobody plays the first lesson from its recording, as a user who
// may do nothing and has no home.
func TestLessonAsNobody(t *testing.T) {
	dir := t.TempDir()
	klab := filepath.Join(dir, "klab")
	require.NoError(t, exec.Command("cp", filepath.Join(bin(t), "klab"), klab).Run())
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		require.NoError(t, os.Chmod(d, 0o755))
	}
	for lang, want := range map[string]string{"en": "3 of 3 goals reached", "zh": "3 个目标达到了 3 个"} {
		cmd := exec.Command(klab, "lesson", "run", "01", "--plain", "--lang", lang)
		cmd.Env = []string{"HOME=/nonexistent", "KLAB_CLUSTER=nobodys", "KLAB_ROOT=" + filepath.Join(dir, "none")}
		cmd.Stdin = strings.NewReader("b 3\n")
		if os.Geteuid() == 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		}
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), want)
	}
}
