package cluster

import (
	"fmt"
	"net/http"

	"k8s.io/client-go/rest"

	"github.com/klab-project/klab/core/registry"
)

// imagesPrefix is where administrators reach the built-in registry, at the API
// server's address. Nodes have an address of their own for it, and only read.
const imagesPrefix = "/klab/registry"

// maxImages bounds what may be loaded into a cluster's registry, in bytes.
const maxImages = 64 << 30

// images opens the built-in registry.
func (d *daemon) images() (*registry.Registry, error) {
	images, err := registry.New(registry.Config{Tools: d.parts.Tools, Dir: d.Dir.registry(), MaxBytes: maxImages})
	if err != nil {
		return nil, fmt.Errorf("built-in registry: %w", err)
	}
	return images, nil
}

// loads serves the registry to administrators, who may write to it.
func (d *daemon) loads(images http.Handler) http.Handler {
	inner := http.StripPrefix(imagesPrefix, images)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if err := d.allow(req, mastersGroup); err != nil {
			http.Error(w, "only administrators may load images: "+err.Error(), http.StatusForbidden)
			return
		}
		inner.ServeHTTP(w, req)
	})
}

// Images returns a client of the cluster's built-in registry.
func Images(d Dir) (*registry.Client, error) {
	if d.Daemon() == 0 {
		return nil, d.notUp()
	}
	c, err := d.RESTConfig()
	if err != nil {
		return nil, err
	}
	tlsConfig, err := rest.TLSConfigFor(c)
	if err != nil {
		return nil, err
	}
	// HTTP/1.1: a stream of its own carries a layer about twice as fast.
	transport := &http.Transport{TLSClientConfig: tlsConfig, WriteBufferSize: 256 << 10}
	return &registry.Client{HTTP: &http.Client{Transport: transport}, Base: c.Host + imagesPrefix}, nil
}
