//go:build soak

package cluster_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/klab-project/klab/netlab/leak"
)

// TestSoakAllGo deletes SOAK_GO pods of two nodes at once, as "kubectl delete
// --all --wait" does, and meanwhile kills an agent, and then the other one.
func TestSoakAllGo(t *testing.T) {
	l := newLab(t)
	l.up(2)
	s := &soak{crash: newCrash(l), seed: number("SOAK_SEED", uint64(time.Now().UnixNano()))}
	t.Logf("SOAK_SEED=%d", s.seed)
	s.connect()
	s.configs()
	s.warm()
	nodes, many := []string{"node-1", "node-2"}, int(number("SOAK_GO", 120))
	before := map[string]leak.Snapshot{}
	for _, node := range nodes {
		var err error
		before[node], err = s.place(node).Take(context.Background())
		require.NoError(t, err)
	}
	r := rand.New(rand.NewPCG(s.seed, 0))
	for i := range many {
		s.runOn(nodes[i%2], fmt.Sprintf("go-%d", i), func(p *corev1.Pod) {
			p.Labels = map[string]string{"all": "go"}
			if i%3 == 0 {
				manyVolumes(p, r)
			}
		})
	}
	s.kubectl("create", "service", "clusterip", "all", "--tcp=80:8080")
	s.kubectl("set", "selector", "service", "all", "all=go")
	for i := range many {
		s.until(fmt.Sprintf("go-%d", i), "runs", nil)
	}
	began, done := time.Now(), make(chan string)
	go func() { out, err := s.try("delete", "pods", "--all", "--wait"); done <- fmt.Sprint(out, err) }()
	for i, node := range nodes {
		few := many - (i+1)*many/6
		s.crash.eventually(func() bool { return s.count() <= few }, func() string { return fmt.Sprint(s.count(), " pods are left") })
		s.kill("agent/" + node)
	}
	said := <-done
	require.Zero(t, s.count(), said)
	t.Logf("%d pods were gone after %s", many, time.Since(began).Round(100*time.Millisecond))
	s.kubectl("delete", "service", "all")
	for _, node := range nodes {
		s.eventuallyIs("True KubeletReady", "get", "node", node, "-o", nodeReady)
		s.as(before[node], node)
	}
}

// count is how many pods there are.
func (s *soak) count() int {
	list, err := s.client.CoreV1().Pods("default").List(context.Background(), metav1.ListOptions{})
	require.NoError(s.t, err)
	return len(list.Items)
}
