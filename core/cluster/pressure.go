package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"k8s.io/client-go/rest"

	"github.com/klab-project/klab/core/kubelet"
	"github.com/klab-project/klab/core/step/remote"
	"github.com/klab-project/klab/netlab/netns"
)

const pressurePath = remote.Prefix + "nodes/{node}/pressure"

// SetPressure makes a node believe that it runs out of something, or ends that.
// The fault ends with the node's kubelet, too.
func SetPressure(ctx context.Context, d Dir, node string, p kubelet.Pressure) error {
	if d.Daemon() == 0 {
		return d.notUp()
	}
	c, err := d.RESTConfig()
	if err != nil {
		return err
	}
	client, err := rest.HTTPClientFor(c)
	if err != nil {
		return err
	}
	return putJSON(ctx, client, c.Host+strings.Replace(pressurePath, "{node}", node, 1), p)
}

// putJSON sends body; an answer that is not OK is the error.
func putJSON(ctx context.Context, client *http.Client, url string, body any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, url, bytes.NewReader(data))
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = errors.New(strings.TrimSpace(string(text)))
	}
	return err
}

// servePressure answers SetPressure by asking the node's kubelet.
func (d *daemon) servePressure(serving tls.Certificate) http.HandlerFunc {
	client := &http.Client{Transport: &http.Transport{
		DialContext:       netns.Dialer(d.net.ControlNS()),
		TLSClientConfig:   &tls.Config{Certificates: []tls.Certificate{serving}, RootCAs: d.pki.pool(), MinVersion: tls.VersionTLS12},
		DisableKeepAlives: true,
	}}
	return func(w http.ResponseWriter, r *http.Request) {
		if err := d.allow(r, remote.Masters); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		name := r.PathValue("node")
		i := slices.IndexFunc(d.nodes, func(n *node) bool { return n.name == name })
		if i < 0 {
			http.Error(w, fmt.Sprintf("there is no node %q: this cluster has node-1 to %s", name, nodeName(len(d.nodes))), http.StatusNotFound)
			return
		}
		var p kubelet.Pressure
		if err := json.NewDecoder(io.LimitReader(r.Body, 1<<16)).Decode(&p); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		at := net.JoinHostPort(nodeAddr(d.nodes[i].number).String(), strconv.Itoa(kubeletPort))
		if err := putJSON(r.Context(), client, "https://"+at+"/klab/pressure", p); err != nil {
			http.Error(w, fmt.Sprintf("%s: %v", name, err), http.StatusBadRequest)
		}
	}
}
