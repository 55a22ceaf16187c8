package main_test

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step/fold/foldtest"
)

func TestAPodsPageInATerminal(t *testing.T) {
	file := recordOf(t, filepath.Join(t.TempDir(), "pod.klab"), foldtest.Pod())
	term := newTerminal(t, 120, 37, filepath.Join(bin(t), "klab")+" tui --lang en --replay "+file)
	term.Expect("REPLAY", "6 Pod")
	term.Press("G", "4")
	term.Expect("✗ Pod/shop")
	term.Press("/")
	term.Press("-l", "Pod/shop")
	term.Press("Enter", "Enter")
	term.Expect("namespaces", "4026532610 ── 4026532610", "the pod's", "httpd :8080")
	term.Press("z", "L")
	term.Expect("名称空间", "Pod 共享")
	term.Press("1")
	term.Expect("!名称空间")
	term.Press("L", ":")
	term.Press("-l", "pod sh")
	term.Press("Enter")
	term.Expect("restart back-off ends", "starts again in")
}

func TestAPodOfARecording(t *testing.T) {
	klab := filepath.Join(bin(t), "klab")
	file := recordOf(t, filepath.Join(t.TempDir(), "pod.klab"), foldtest.Pod())
	out, err := exec.Command(klab, "pod", "shop", "--replay", file, "--lang", "zh", "--width", "120").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "名称空间")
	require.Contains(t, string(out), "137 OOMKilled")
	require.NotContains(t, string(out), "\x1b", "no colours in a pipe")

	out, err = exec.Command(klab, "pod", "sh", "--replay", file, "--json", "--at", "96").Output()
	require.NoError(t, err)
	var page struct {
		Phase      string
		Namespaces []struct{ Kind, Whose string }
		Processes  []struct{ PID int }
	}
	require.NoError(t, json.Unmarshal(out, &page))
	require.Equal(t, "Running", page.Phase)
	require.Equal(t, "pod", page.Namespaces[0].Whose)
	require.Len(t, page.Processes, 4, "as it was then")

	out, err = exec.Command(klab, "pod", "other", "--replay", file).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), `no pod is called "other"`)
}
