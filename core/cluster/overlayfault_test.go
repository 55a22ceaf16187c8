package cluster_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/cluster"
	"github.com/klab-project/klab/core/step"
	faults "github.com/klab-project/klab/netlab/fault"
	"github.com/klab-project/klab/netlab/overlay"
)

// onNode runs a command on a node; it returns nothing if that fails.
func (l *lab) onNode(node string, command ...string) string {
	cmd := exec.Command(l.klab, append([]string{"--cluster", l.Name, "node", "exec", node}, command...)...)
	cmd.Env = append(os.Environ(), "KLAB_ROOT="+filepath.Dir(l.Path))
	out, _ := cmd.Output()
	return string(out)
}

// ways is all that leads from a node to other nodes' pods: routes, devices, and
// the entries of these.
func (l *lab) ways(node string) []string {
	var list []string
	for line := range strings.Lines(l.onNode(node, "sh", "-c",
		"ip route; ip -br link show type vxlan; ip -br link show type tun; bridge fdb show dev flannel.1; ip neigh show dev flannel.1")) {
		line = strings.Join(strings.Fields(line), " ")
		if strings.Contains(line, "10.244.") && !strings.Contains(line, "dev cni0") || strings.Contains(line, "dst ") || strings.HasPrefix(line, "flannel") {
			line, _, _ = strings.Cut(line, " <") // flags of a device
			list = append(list, line)
		}
	}
	slices.Sort(list)
	return list
}

// leadsBy is what ways has on the first of two nodes.
func leadsBy(backend string) []string {
	switch backend {
	case overlay.VXLAN:
		return []string{
			"0a:58:0a:f4:02:00 dst 172.30.0.12 self permanent", "10.244.2.0 lladdr 0a:58:0a:f4:02:00 PERMANENT",
			"10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink", "flannel.1 UNKNOWN 0a:58:0a:f4:01:00",
		}
	case overlay.HostGW:
		return []string{"10.244.2.0/24 via 172.30.0.12 dev eth0"}
	default:
		return []string{"10.244.0.0/16 dev flannel0 scope link", "flannel0 UNKNOWN"}
	}
}

// awaitWays waits until nothing else leads from a node to others.
func (l *lab) awaitWays(node string, want []string) {
	l.t.Helper()
	var got []string
	require.Eventually(l.t, func() bool { got = l.ways(node); return slices.Equal(want, got) }, eventually, tick,
		"%s has other ways than %q", node, want)
}

// serveOn runs a web server on a node, and returns its address.
func (l *lab) serveOn(node, name string) string {
	l.kubectl("run", name, "--image=klab.local/tools:1", `--overrides={"spec":{"nodeName":"`+node+`"}}`, "--", "httpd", ":8080")
	l.kubectl("wait", "--for=condition=Ready", "pod/"+name, "--timeout=120s")
	return l.kubectl("get", "pod", name, "-o", "jsonpath={.status.podIP}")
}

// asks tells whether the pod to, which has the address ip, answers the pod from.
func (l *lab) asks(from, to, ip string) bool {
	answer, err := l.try("exec", from, "--", "wget", "-q", "-T", "2", "-O", "-", "http://"+ip+":8080/")
	return err == nil && strings.Contains(answer, to)
}

// An agent that is killed in the middle of a change of the backend, when parts
// of both are there, finishes it when it is back.
func TestAgentKilledInTheMiddleOfABackendSwitch(t *testing.T) {
	ctx := context.Background()
	l := newLab(t)
	l.up(2)
	ip := map[string]string{"a": l.serveOn("node-1", "a"), "b": l.serveOn("node-2", "b")}
	l.awaitWays("node-1", leadsBy(overlay.VXLAN))
	steps, err := cluster.Connect(l.Dir)
	require.NoError(t, err)
	for _, c := range []struct {
		to   string
		held []step.Verb // the last is the one at which it dies
	}{
		{overlay.UDP, []step.Verb{step.OverlayAdd, step.BackendSet}}, // both lead to the peer; flannel0 dies with the agent
		{overlay.HostGW, []step.Verb{step.BackendSet}},               // nothing has changed here, but the peer has
		{overlay.VXLAN, []step.Verb{step.OverlayAdd}},                // flannel.1 is there and knows nobody
		{overlay.HostGW, []step.Verb{step.OverlayAdd}},               // the route still leads through flannel.1
	} {
		for i, verb := range c.held {
			require.NoError(t, steps.SetMode(ctx, step.Mode{State: step.Paused, Zoom: step.Fine, Only: []step.Match{{Actor: "flannel", Node: "node-1", Verb: verb}}}))
			if i == 0 {
				l.kubectl("-n", "kube-system", "patch", "configmap", "kube-flannel-cfg", "--type=merge",
					"-p", `{"data":{"net-conf.json":"{\"Network\":\"10.244.0.0/16\",\"Backend\":{\"Type\":\"`+c.to+`\"}}"}}`)
			}
			require.Eventually(t, func() bool {
				list, err := steps.Pending(ctx)
				return err == nil && slices.ContainsFunc(list, func(p step.Pending) bool { return p.Verb == verb && p.Node == "node-1" })
			}, eventually, tick, "the change to %s never comes to %s", c.to, verb)
		}
		l.restarts("agent/node-1")
		require.NoError(t, steps.SetMode(ctx, step.Mode{}))

		l.awaitWays("node-1", leadsBy(c.to))
		require.Eventually(t, func() bool { return l.asks("a", "b", ip["b"]) && l.asks("b", "a", ip["a"]) }, eventually, tick, c.to)
	}
	require.Equal(t, "0 0", l.kubectl("get", "pods", "-o", "jsonpath={.items[*].status.containerStatuses[0].restartCount}"))
}

// A node whose uplink is cut for longer than the cluster waits for it is
// NotReady; what others send each other gets through. When it is whole again
// the node is Ready, and packets go to and from it as before.
func TestNodeCutOffAndBack(t *testing.T) {
	ctx := context.Background()
	l := newLab(t)
	l.up(3)
	ip := map[string]string{"a": l.serveOn("node-1", "a"), "b": l.serveOn("node-2", "b"), "c": l.serveOn("node-3", "c")}
	ways := map[string][]string{}
	for _, node := range []string{"node-1", "node-2"} {
		require.Eventually(t, func() bool { ways[node] = l.ways(node); return len(ways[node]) == 7 }, eventually, tick,
			"a device, and a route and two entries for each of two others")
	}
	require.Eventually(t, func() bool { return l.asks("a", "b", ip["b"]) && l.asks("a", "c", ip["c"]) }, eventually, tick)
	l.kubectl("run", "asker", "--image=klab.local/tools:1", `--overrides={"spec":{"nodeName":"node-1"}}`, "--",
		"sh", "-c", "while true; do wget -q -T 60 -O - http://"+ip["c"]+":8080/ >/dev/null && echo answered || echo lost; sleep 0.05; done")
	l.kubectl("wait", "--for=condition=Ready", "pod/asker", "--timeout=120s")

	cut, err := cluster.Break(ctx, l.Dir, faults.Ask{Card: "cut-link", Target: "node-2"})
	require.NoError(t, err)
	l.step("speed", "10")
	l.eventually("Unknown NodeStatusUnknown", "get", "node", "node-2", "-o", nodeReady)
	l.step("speed", "1")
	l.eventually("True True", "get", "node", "node-1", "node-3", "-o", `jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}`)
	require.False(t, l.asks("a", "b", ip["b"]))
	answered := func() int { text, _ := l.try("logs", "asker"); return strings.Count(text, "answered") }
	before := answered()
	require.Eventually(t, func() bool { return answered() > before+3 }, eventually, tick)

	_, err = cluster.Mend(ctx, l.Dir, cut.ID)
	require.NoError(t, err)
	l.eventually("True KubeletReady", "get", "node", "node-2", "-o", nodeReady)
	for node, want := range ways {
		l.awaitWays(node, want)
	}
	require.Eventually(t, func() bool {
		return l.asks("a", "b", ip["b"]) && l.asks("b", "a", ip["a"]) && l.asks("b", "c", ip["c"])
	}, eventually, tick)
	require.NotContains(t, l.logs("asker"), "lost")
}
