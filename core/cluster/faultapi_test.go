package cluster_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/cluster"
	"github.com/klab-project/klab/core/step"
	faults "github.com/klab-project/klab/netlab/fault"
)

// Every card that is of the API's, in one cluster: what it says is seen, a
// killed daemon changes nothing about it, and all is as before when it is mended.
func TestEveryAPICardInACluster(t *testing.T) {
	l := newLab(t)
	require.NoError(t, cluster.Up(t.Context(), l.Dir, cluster.UpOptions{Nodes: 1, Wait: true, Self: l.klab}))
	l.kubectl("create", "deployment", "web", "--image=klab.local/tools:1", "--", "httpd", ":8080")
	l.kubectl("expose", "deployment", "web", "--port=80", "--target-port=8080")
	l.kubectl("run", "client", "--image=klab.local/tools:1", "--", "sleep", "infinity")
	l.kubectl("rollout", "status", "deployment/web", "--timeout=120s")
	l.kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=120s")
	ip := l.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
	answers := func(at string) func() bool {
		return func() bool {
			_, err := l.try("exec", "client", "--", "wget", "-q", "-T", "2", "-O", "-", "http://"+at+"/")
			return err == nil
		}
	}
	byName, byAddress := answers("web"), answers(ip)
	reads := func(want string, args ...string) func() bool {
		return func() bool { got, err := l.try(args...); return err == nil && strings.Contains(got, want) }
	}
	spec := func() string { // of all that cards change
		return l.kubectl("get", "deployment,service", "-A", "-o", `jsonpath={range .items[*]}{.metadata.name} {.spec}{"\n"}{end}`) +
			l.kubectl("get", "node", "node-1", "-o", `jsonpath={.metadata.annotations.klab/kube-proxy}`)
	}
	until := func(what string, done func() bool) {
		t.Helper()
		require.Eventually(t, done, eventually, tick, what)
	}
	until("the name web", byName)
	before := spec()
	works := foretold{"svc/web:80", "tcp", "answered", "answered", step.AsPredicted}
	l.foretells("before", works)
	tried := map[string]bool{}
	readies := []string{"get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].status.containerStatuses[0].ready}"}
	const waiting = `jsonpath={.items[*].status.containerStatuses[*].state.waiting.reason}`
	for _, x := range []struct {
		card, target string
		seen         func() bool // what the card says
		still        func() bool // what goes on meanwhile
		packets      []foretold
	}{
		{"dns-down", "", func() bool { return !byName() }, byAddress, []foretold{{"kube-dns.kube-system:53", "udp", "refused", "refused", step.AsPredicted}, works}},
		{"wrong-selector", "web", func() bool {
			return reads("<none>", "get", "endpoints", "web")() && !byAddress()
		}, reads("1/1", "get", "deployment", "web"), []foretold{{"svc/web:80", "tcp", "refused", "refused", step.AsPredicted}}},
		{"bad-image", "web", reads("ImagePullBackOff", "get", "pods", "-l", "app=web", "-o", waiting), byName, []foretold{works}},
		{"bad-probe", "web", func() bool { return reads("false", readies...)() && reads("true", readies...)() }, byName, []foretold{works}},
		{"stop-proxy", "node-1", reads("stopped", "get", "node", "node-1", "-o", "jsonpath={.metadata.annotations}"), byName, []foretold{works}},
	} {
		tried[x.card] = true
		ask := faults.Ask{Card: x.card, Target: x.target}
		f, err := cluster.Break(t.Context(), l.Dir, ask)
		require.NoError(t, err, x.card)
		until(x.card+" is seen", x.seen)
		until("during "+x.card, x.still)
		l.foretells("during "+x.card, x.packets...)
		_, err = cluster.Break(t.Context(), l.Dir, ask)
		require.ErrorContains(t, err, "is broken already", x.card)
		if x.card == "bad-image" {
			l.kill("daemon")
			require.NoError(t, cluster.Up(t.Context(), l.Dir, cluster.UpOptions{Self: l.klab}))
			until(x.card+" is seen by the next daemon", x.seen)
		}
		_, err = cluster.Mend(t.Context(), l.Dir, f.ID)
		require.NoError(t, err, x.card)
		l.kubectl("rollout", "status", "deployment/web", "--timeout=120s")
		until("after "+x.card, func() bool { return byName() && byAddress() })
		until("all is as before "+x.card, func() bool { return spec() == before })
	}
	for _, c := range faults.Cards() {
		if c.On == faults.OnCluster || c.On == faults.OnService || c.On == faults.OnDeployment || c.Name == "stop-proxy" {
			require.True(t, tried[c.Name], "the card %s was not tried", c.Name)
		}
	}
	// A new Service is unknown to a proxy that is stopped, and known when it goes on.
	_, err := cluster.Break(t.Context(), l.Dir, faults.Ask{Card: "stop-proxy", Target: "node-1"})
	require.NoError(t, err)
	until("the proxy stands", reads(`\"stopped\":true`, "get", "node", "node-1", "-o", "jsonpath={.metadata.annotations}"))
	l.kubectl("expose", "deployment", "web", "--name=late", "--port=80", "--target-port=8080")
	late := answers(l.kubectl("get", "service", "late", "-o", "jsonpath={.spec.clusterIP}"))
	require.False(t, late(), "nobody can know it")
	l.foretells("of which the proxy does not know", foretold{"svc/late:80", "tcp", "refused", "answered", step.Differs})
	_, err = cluster.Mend(t.Context(), l.Dir, "")
	require.NoError(t, err)
	until("the Service that came meanwhile", late)
	l.foretells("when the proxy goes on", foretold{"svc/late:80", "tcp", "answered", "answered", step.AsPredicted})
}
