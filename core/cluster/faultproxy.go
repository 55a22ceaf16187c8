package cluster

import (
	"context"
	"encoding/json"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/klab-project/klab/netlab/fault"
	"github.com/klab-project/klab/netlab/link"
)

// brokenProxy is a kind of change: a node's kube-proxy that is to be stopped.
// Its Key is the node.
type brokenProxy struct {
	Dir
	client kubernetes.Interface
}

func (k brokenProxy) stopped(ctx context.Context, node string) (bool, error) {
	n, err := k.client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	if err != nil {
		return false, err
	}
	return n.Annotations[proxyWanted] == proxyStopped, nil
}

func (k brokenProxy) Read(ctx context.Context, _ *link.Net, c fault.Change) (json.RawMessage, error) {
	stopped, err := k.stopped(ctx, c.Key)
	if err == nil && stopped {
		err = wrongf("there is nothing to break: the kube-proxy of %s is stopped already", c.Key)
	}
	return json.RawMessage(`"running"`), err
}

func (k brokenProxy) Apply(ctx context.Context, _ *link.Net, c fault.Change) error {
	return RunProxy(ctx, k.Dir, c.Key, false)
}

func (k brokenProxy) Restore(ctx context.Context, _ *link.Net, c fault.Change) error {
	stopped, err := k.stopped(ctx, c.Key)
	if apierrors.IsNotFound(err) || err == nil && !stopped {
		return nil
	}
	if err != nil {
		return err
	}
	return RunProxy(ctx, k.Dir, c.Key, true)
}
