package ingress

import (
	"context"
	"sync"

	"github.com/klab-project/klab/netlab/kube"
)

// The lists that a table follows from.
const (
	ingressesPath = "/apis/networking.k8s.io/v1/ingresses"
	classesPath   = "/apis/networking.k8s.io/v1/ingressclasses"
	servicesPath  = "/api/v1/services"
	slicesPath    = "/apis/discovery.k8s.io/v1/endpointslices"
	secretsPath   = "/api/v1/secrets?fieldSelector=type%3Dkubernetes.io%2Ftls"
)

func watched() []string {
	return []string{ingressesPath, classesPath, servicesPath, slicesPath, secretsPath}
}

// follow lists and watches everything until ctx ends. After each change, once
// all lists are known, it calls f with what there is; never twice at a time.
func (c *Controller) follow(ctx context.Context, f func(Snapshot)) {
	m := kube.NewMirror(c.API, func(path string, err error) { c.Log.Printf("watch %s: %v", path, err) })
	var work sync.WaitGroup
	defer work.Wait()
	for _, path := range watched() {
		work.Go(func() { m.Follow(ctx, path) })
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.Changed():
			if m.Known(watched()...) {
				f(Snapshot{
					Ingresses: objects[Ingress](c, m, ingressesPath), Classes: objects[Class](c, m, classesPath), Services: objects[Service](c, m, servicesPath),
					Slices: objects[Slice](c, m, slicesPath), Secrets: objects[Secret](c, m, secretsPath),
				})
			}
		}
	}
}

func objects[T any](c *Controller, m *kube.Mirror, path string) []T {
	return kube.Objects[T](m, path, func(key string, err error) { c.Log.Printf("%s of %s cannot be read: %v", key, path, err) })
}
