package cluster_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

const staticPod = `apiVersion: v1
kind: Pod
metadata:
  name: web
spec:
  containers:
  - name: c
    image: klab.local/tools:1
    args: [sleep, "%d"]
`

// manifest writes the file of a static pod as kubeadm does, at once.
func (l *lab) manifest(name, text string) {
	path := filepath.Join(l.Manifests("node-1"), name)
	require.NoError(l.t, os.WriteFile(path+".new", []byte(text), 0o600))
	require.NoError(l.t, os.Rename(path+".new", path))
}

// A static pod is its file's: deleting it through the API stops nothing.
func TestStaticPod(t *testing.T) {
	l := newLab(t)
	l.up(1)
	l.manifest("web.yaml", fmt.Sprintf(staticPod, 600))
	l.eventually("Running", "get", "pod", "web-node-1", "-o", phase)
	id := l.kubectl("get", "pod", "web-node-1", "-o", containerID)
	require.Equal(t, "Node", l.kubectl("get", "pod", "web-node-1", "-o", "jsonpath={.metadata.ownerReferences[0].kind}"))
	uid := l.kubectl("get", "pod", "web-node-1", "-o", "jsonpath={.metadata.uid}")

	l.kubectl("delete", "pod", "web-node-1", "--wait=false")
	require.Eventually(t, func() bool {
		now, err := l.try("get", "pod", "web-node-1", "-o", "jsonpath={.metadata.uid}")
		return err == nil && now != uid
	}, eventually, tick)
	l.eventually(id, "get", "pod", "web-node-1", "-o", containerID)

	l.kill("agent/node-1")
	l.kubectl("run", "after", "--image=klab.local/tools:1", "--", "sleep", "600")
	l.kubectl("wait", "--for=condition=Ready", "pod/after", "--timeout=120s")
	l.eventually(id, "get", "pod", "web-node-1", "-o", containerID)

	// Another file is another pod; the one before ends first.
	l.manifest("web.yaml", fmt.Sprintf(staticPod, 500))
	l.eventually("500", "get", "pod", "web-node-1", "-o", "jsonpath={.spec.containers[0].args[1]}")
	l.eventually("true", "get", "pod", "web-node-1", "-o", "jsonpath={.status.containerStatuses[0].ready}")
	require.NotEqual(t, id, l.kubectl("get", "pod", "web-node-1", "-o", containerID))

	l.manifest("broken.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: [], nonsense: 1}\n")
	l.eventually("InvalidStaticPod", "get", "events", "--field-selector=reason=InvalidStaticPod", "-o", "jsonpath={.items[0].reason}")

	require.NoError(t, os.Remove(filepath.Join(l.Manifests("node-1"), "web.yaml")))
	l.kubectl("wait", "--for=delete", "pod/web-node-1", "--timeout=120s")
}
