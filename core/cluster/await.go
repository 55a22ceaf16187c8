package cluster

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/klab-project/klab/netlab/netns"
)

// awaitKubelets waits until the kubelets of all nodes that are on answer. After
// a crash a node is Ready long before: its status is that of the kubelet before.
func (d *daemon) awaitKubelets(ctx context.Context) error {
	for _, n := range d.nodes.all() {
		if d.isOff(n.name) {
			continue
		}
		if err := d.awaitKubelet(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// awaitKubelet waits until a node's kubelet answers. Of a node about which
// something is broken on purpose that may be never: it is on, and that is all.
func (d *daemon) awaitKubelet(ctx context.Context, n *node) error {
	if d.hurt(n.name) {
		return nil
	}
	dial := netns.Dialer(d.net.ControlNS())
	addr := net.JoinHostPort(nodeAddr(n.number).String(), strconv.Itoa(kubeletPort))
	for {
		conn, err := dial(ctx, "tcp", addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// awaitNodes waits until as many nodes are Ready as the cluster is to have.
func awaitNodes(ctx context.Context, c *rest.Config, count int) error {
	client, err := kubernetes.NewForConfig(c)
	if err != nil {
		return err
	}
	events, err := client.CoreV1().Nodes().Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	defer events.Stop()
	ready := map[string]bool{}
	for {
		select {
		case e, ok := <-events.ResultChan():
			if !ok {
				return fmt.Errorf("the watch on nodes ended")
			}
			if n, isNode := e.Object.(*corev1.Node); isNode && e.Type != watch.Deleted {
				ready[n.Name] = isReady(n)
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		n := 0
		for _, yes := range ready {
			if yes {
				n++
			}
		}
		if n >= count {
			return nil
		}
	}
}

func isReady(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
