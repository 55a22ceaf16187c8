package cluster_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/klab-project/klab/core/cluster"
	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/proxy"
)

// BenchmarkService is from the request that makes a Service to the first
// connection to it from the last of three nodes, beside ten others and beside a
// thousand, each with three endpoints. Bars: 50 and 150 ms.
func BenchmarkService(b *testing.B) {
	l := newLab(b)
	l.up(3)
	l.kubectl("create", "deployment", "web", "--image=klab.local/tools:1", "--replicas=3", "--", "httpd", ":8080")
	l.kubectl("rollout", "status", "deployment/web", "--timeout=120s")
	config, err := l.RESTConfig()
	require.NoError(b, err)
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	require.NoError(b, err)
	s := &servicesBench{lab: l, api: client.CoreV1().Services("default")}
	for _, others := range []int{10, 1000} {
		s.fill(b, others)
		for _, mode := range []proxy.Mode{proxy.NFTables, proxy.IPTables} {
			require.NoError(b, cluster.SetProxyMode(context.Background(), l.Dir, mode))
			_, addr := s.create(b)
			s.reached(b, addr) // everybody has changed its mode
			b.Run(fmt.Sprintf("%s/%d", mode, others), s.measure)
		}
	}
}

type servicesBench struct {
	*lab
	api   typedcorev1.ServiceInterface
	count int // of Services made so far: one of an old name would wait for what its predecessor left
	base  int
}

func (s *servicesBench) create(b *testing.B) (name, addr string) {
	s.count++
	name = fmt.Sprint("web-", s.count)
	svc, err := s.api.Create(context.Background(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": "web"},
		Ports:    []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
	}}, metav1.CreateOptions{})
	require.NoError(b, err)
	return name, svc.Spec.ClusterIP + ":80"
}

// fill makes Services until there are n, and waits for the last one.
func (s *servicesBench) fill(b *testing.B, n int) {
	addr := ""
	for ; s.base < n; s.base++ {
		_, addr = s.create(b)
	}
	if addr != "" {
		s.reached(b, addr)
	}
}

func (s *servicesBench) measure(b *testing.B) {
	median(b, "service-to-packet", func() time.Duration {
		var name string
		took := timed(func() {
			var addr string
			name, addr = s.create(b)
			s.reached(b, addr)
		})
		require.NoError(b, s.api.Delete(context.Background(), name, metav1.DeleteOptions{}))
		return took
	})
}

// reached returns once every node has opened a connection to addr.
func (l *lab) reached(b *testing.B, addr string) {
	var g errgroup.Group
	for i := 1; i <= 3; i++ {
		g.Go(func() error {
			dial := netns.Dialer(filepath.Join(l.Path, "nodes", fmt.Sprint("node-", i), "ns", "net"))
			for start := time.Now(); ; {
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
				c, err := dial(ctx, "tcp4", addr)
				cancel()
				if err == nil {
					return c.Close()
				}
				time.Sleep(time.Millisecond) // there are four processes that have work to do
				if time.Since(start) > 30*time.Second {
					return err
				}
			}
		})
	}
	require.NoError(b, g.Wait())
}
