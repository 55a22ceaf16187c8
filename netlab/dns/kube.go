package dns

import (
	"context"
	"log"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klab-project/klab/netlab/kube"
)

// Kube is a Source that lists and watches the API.
type Kube struct {
	mirror *kube.Mirror
	log    *log.Logger
	serial uint32

	index    atomic.Pointer[Index]
	pods     atomic.Bool
	morePods chan struct{}
}

// The lists that an index is made of; pods only if they are wanted.
const (
	namespacesPath = "/api/v1/namespaces"
	servicesPath   = "/api/v1/services"
	slicesPath     = "/apis/discovery.k8s.io/v1/endpointslices"
	podsPath       = "/api/v1/pods"
)

// NewKube is a Kube that asks by this client.
func NewKube(client *kube.Client, log *log.Logger) *Kube {
	kinds := map[string]string{namespacesPath: "Namespace", servicesPath: "Service", slicesPath: "EndpointSlice", podsPath: "Pod"}
	return &Kube{
		log: log, morePods: make(chan struct{}, 1),
		mirror: kube.NewMirror(client, func(path string, err error) {
			log.Printf("[ERROR] plugin/kubernetes: Failed to watch *v1.%s: %v", kinds[path], err)
		}),
	}
}

// InCluster is a Kube for a pod.
func InCluster(log *log.Logger) (*Kube, error) {
	client, err := kube.InCluster("coredns/klab")
	if err != nil {
		return nil, err
	}
	return NewKube(client, log), nil
}

func (k *Kube) watched() []string {
	list := []string{namespacesPath, servicesPath, slicesPath}
	if k.pods.Load() {
		list = append(list, podsPath)
	}
	return list
}

// WantPods makes it watch pods too, from now on.
func (k *Kube) WantPods() {
	if k.pods.CompareAndSwap(false, true) {
		k.morePods <- struct{}{}
	}
}

// Index is what is known, or nil as long as not everything has been listed.
func (k *Kube) Index() *Index { return k.index.Load() }

// Run lists and watches until ctx ends.
func (k *Kube) Run(ctx context.Context) {
	var work sync.WaitGroup
	defer work.Wait()
	for _, path := range []string{namespacesPath, servicesPath, slicesPath} {
		work.Go(func() { k.mirror.Follow(ctx, path) })
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.morePods:
			work.Go(func() { k.mirror.Follow(ctx, podsPath) })
		case <-k.mirror.Changed():
			k.rebuild()
		}
	}
}

// rebuild makes the index of all that is known, if everything is.
func (k *Kube) rebuild() {
	if !k.mirror.Known(k.watched()...) {
		return
	}
	s := Snapshot{
		Namespaces: objects[Namespace](k, namespacesPath), Services: objects[Service](k, servicesPath),
		Slices: objects[EndpointSlice](k, slicesPath), Pods: objects[Pod](k, podsPath),
	}
	k.serial = max(k.serial+1, uint32(time.Now().Unix()))
	k.index.Store(NewIndex(s, k.serial))
}

func objects[T any](k *Kube, path string) []T {
	return kube.Objects[T](k.mirror, path, func(key string, err error) {
		k.log.Printf("[ERROR] plugin/kubernetes: %s of %s cannot be read: %v", key, path, err)
	})
}
