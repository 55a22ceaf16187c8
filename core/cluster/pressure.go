package cluster

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strconv"

	"github.com/klab-project/klab/core/kubelet"
	"github.com/klab-project/klab/core/step/remote"
	"github.com/klab-project/klab/netlab/netns"
)

const pressurePath = remote.Prefix + "nodes/{node}/pressure"

// SetPressure makes a node believe that it runs out of something, or ends that.
// The fault ends with the node's kubelet, too.
func SetPressure(ctx context.Context, d Dir, node string, p kubelet.Pressure) error {
	return d.nodeCommand(ctx, pressurePath, node, p, nil)
}

// servePressure answers SetPressure by asking the node's kubelet.
func (d *daemon) servePressure(serving tls.Certificate) http.HandlerFunc {
	client := d.kubeletClient(serving)
	return serveNodeCommand(d, func(ctx context.Context, n *node, p kubelet.Pressure) (any, error) {
		if err := putJSON(ctx, client, n.kubeletURL("/klab/pressure"), p, nil); err != nil {
			return nil, wrongf("%s: %w", n.name, err)
		}
		return nil, nil
	})
}

// kubeletClient asks kubelets in the API server's name.
func (d *daemon) kubeletClient(serving tls.Certificate) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext:       netns.Dialer(d.net.ControlNS()),
		TLSClientConfig:   &tls.Config{Certificates: []tls.Certificate{serving}, RootCAs: d.pki.pool(), MinVersion: tls.VersionTLS12},
		DisableKeepAlives: true,
	}}
}

func (n *node) kubeletURL(path string) string {
	return "https://" + net.JoinHostPort(nodeAddr(n.number).String(), strconv.Itoa(kubeletPort)) + path
}
