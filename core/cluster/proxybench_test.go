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

	"github.com/klab-project/klab/netlab/netns"
)

// BenchmarkService is from the request that makes a Service, the eleventh, to
// the first connection to it from the last of three nodes. Bar: 50 ms. (For a
// thousand Services see netlab/proxy.)
func BenchmarkService(b *testing.B) {
	l := newLab(b)
	l.up(3)
	l.kubectl("create", "deployment", "web", "--image=klab.local/tools:1", "--replicas=3", "--", "httpd", ":8080")
	l.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
	config, err := l.RESTConfig()
	require.NoError(b, err)
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	require.NoError(b, err)
	ctx, services := context.Background(), client.CoreV1().Services("default")
	create := func(name string) string {
		svc, err := services.Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "web"},
			Ports:    []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
		}}, metav1.CreateOptions{})
		require.NoError(b, err)
		return svc.Spec.ClusterIP + ":80"
	}
	for i := range 10 {
		l.reached(b, create(fmt.Sprint("other-", i)))
	}
	n := 0
	median(b, "service-to-packet", func() time.Duration {
		n++ // one of the same name would wait until what its predecessor left is collected
		name := fmt.Sprint("new-", n)
		took := timed(func() { l.reached(b, create(name)) })
		require.NoError(b, services.Delete(ctx, name, metav1.DeleteOptions{}))
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
				if time.Since(start) > 10*time.Second {
					return err
				}
			}
		})
	}
	require.NoError(b, g.Wait())
}
