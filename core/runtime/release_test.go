package runtime

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// A klab-rt that is killed when it has let a program run, and before it has
// noted that, leaves a start that the next one finishes.
func TestStartIsFinishedByTheNextShim(t *testing.T) {
	n := newNode(t)
	_, id := n.run("trap", "trap", "7")
	eventually(t, "ready", func() bool { return len(n.log(id)) == 1 })
	record, fifo := filepath.Join(n.dir(id), "rt.json"), filepath.Join(n.root, "rt", id, "exec.fifo")
	text, err := os.ReadFile(record)
	require.NoError(t, err)
	before := bytes.Replace(text, []byte(`"status":"running"`), []byte(`"status":"created"`), 1)
	require.NotEqual(t, text, before)
	require.NoError(t, os.WriteFile(record, before, 0o600))
	require.NoError(t, unix.Mkfifo(fifo, 0o622))
	n.killRT()
	require.NoError(t, n.StartContainer(n.ctx, id))
	status, err := n.ContainerStatus(n.ctx, id)
	require.NoError(t, err)
	require.Equal(t, cri.ContainerState_CONTAINER_RUNNING, status.State)
	require.NoFileExists(t, fifo)
	require.NoError(t, unix.Kill(n.pid(id), unix.SIGTERM))
	n.wait(id)
}
