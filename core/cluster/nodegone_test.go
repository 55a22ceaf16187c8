package cluster_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// step runs klab step.
func (l *lab) step(args ...string) {
	l.t.Helper()
	cmd := exec.Command(l.klab, append([]string{"--cluster", l.Name, "step"}, args...)...)
	cmd.Env = append(os.Environ(), "KLAB_ROOT="+filepath.Dir(l.Path))
	out, err := cmd.CombinedOutput()
	require.NoError(l.t, err, string(out))
}

// A node whose kubelet is silent is NotReady and tainted; its pods are evicted
// and replaced. When it is heard again, it is Ready and without what was evicted.
func TestNodeGoneAndBack(t *testing.T) {
	const (
		status = `jsonpath={.status.conditions[?(@.type=="Ready")].status}`
		taints = "jsonpath={.spec.taints[*].effect}"
		nodes  = "jsonpath={.items[*].spec.nodeName}"
	)
	l := newLab(t)
	l.up(2)
	l.kubectl("cordon", "node-1")
	l.kubectl("run", "lone", "--image=klab.local/tools:1", "--", "sleep", "600")
	l.kubectl("wait", "--for=condition=Ready", "pod/lone", "--timeout=120s")
	l.kubectl("create", "deployment", "web", "--image=klab.local/tools:1", "--", "httpd", ":8080")
	l.kubectl("rollout", "status", "deployment/web", "--timeout=120s")
	l.kubectl("uncordon", "node-1")
	require.Equal(t, "node-2", l.kubectl("get", "pods", "-l", "app=web", "-o", nodes))

	l.step("speed", "20")
	l.signal("agent/node-2", syscall.SIGSTOP)
	t.Cleanup(func() { l.signal("agent/node-2", syscall.SIGCONT) })
	l.eventually("Unknown", "get", "node", "node-2", "-o", status)
	l.eventually("NoSchedule NoExecute", "get", "node", "node-2", "-o", taints)
	l.kubectl("wait", "--for=condition=Ready=false", "pod/lone", "--timeout=120s")

	// Five minutes later, pods that tolerate the taint for so long are evicted. It
	// goes no faster: the other node must be heard every fifty seconds of the lab.
	l.kubectl("wait", "--for=jsonpath={.metadata.deletionTimestamp}", "pod/lone", "--timeout=120s")
	l.kubectl("rollout", "status", "deployment/web", "--timeout=120s")
	l.eventually("node-1", "get", "pods", "-l", "app=web", "--field-selector", "spec.nodeName=node-1", "-o", nodes)

	l.step("speed", "1")
	l.signal("agent/node-2", syscall.SIGCONT)
	l.eventually("True", "get", "node", "node-2", "-o", status)
	l.eventually("", "get", "node", "node-2", "-o", taints)
	l.kubectl("wait", "--for=delete", "pod/lone", "--timeout=120s")
	l.eventually("node-1", "get", "pods", "-l", "app=web", "-o", nodes)
}
