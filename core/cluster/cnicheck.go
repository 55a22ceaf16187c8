package cluster

import (
	"context"
	"crypto/tls"
	"net/http"

	"github.com/klab-project/klab/core/kubelet"
	"github.com/klab-project/klab/core/step/remote"
)

// NetworkCheck is what plugins say of a pod's attachment.
type NetworkCheck struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Node      string `json:"node"`
	Differs   string `json:"differs,omitempty"` // what is not as ADD left it
}

const cniCheckPath = remote.Prefix + "cnicheck"

// CheckNetwork has CHECK called for a pod, through the chain of plugins that it
// was attached by. The place is written as that of a packet.
func CheckNetwork(ctx context.Context, d Dir, place string) (c NetworkCheck, err error) {
	err = d.command(ctx, cniCheckPath, place, &c)
	return c, err
}

// serveCNICheck answers CheckNetwork by asking the kubelet of the pod's node.
func (p *packets) serveCNICheck(serving tls.Certificate) http.HandlerFunc {
	client := p.d.kubeletClient(serving)
	return serveCommand(p.d, func(ctx context.Context, _ *http.Request, place string) (any, error) {
		names, err := askNames(ctx, p.client)
		if err != nil {
			return nil, err
		}
		pod, err := (&packetEnds{knownNames: names, namespace: "default"}).pod(place)
		switch {
		case err != nil:
			return nil, wrong{err}
		case pod == nil:
			return nil, wrongf("there is no pod %q: write pod/NAME or NAMESPACE/NAME", place)
		case pod.Spec.HostNetwork:
			return nil, wrongf("pod %s/%s uses the node's own network: no plugin attached it", pod.Namespace, pod.Name)
		}
		for _, n := range p.d.nodes.all() {
			if n.name != pod.Spec.NodeName {
				continue
			}
			c := NetworkCheck{Namespace: pod.Namespace, Name: pod.Name, Node: n.name}
			if err := putJSON(ctx, client, n.kubeletURL("/klab/network-check"), kubelet.PodName{Namespace: pod.Namespace, Name: pod.Name, UID: string(pod.UID)}, nil); err != nil {
				c.Differs = err.Error()
			}
			return c, nil
		}
		return nil, wrongf("pod %s/%s is on no node of this cluster yet", pod.Namespace, pod.Name)
	})
}
