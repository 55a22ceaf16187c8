package devices

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/klab-project/klab/core/step"
)

// stopGrace is how long a resource stays after its last plugin has gone.
const stopGrace = 5 * time.Minute

// Config says where plugins come to.
type Config struct {
	Dir    string // of kubelet.sock, of the plugins' sockets and of the checkpoint
	Clock  *step.Clock
	Logger *slog.Logger
	// Changed is called when what there is has changed, with the pods that have
	// some of it whose health is another now. It must not wait.
	Changed func(pods []types.UID)
}

// Devices are those that a node's plugins offer.
type Devices struct {
	Config
	server *grpc.Server
	work   sync.WaitGroup
	ctx    context.Context // of everything that plugins are asked in the background
	cancel context.CancelFunc

	taking sync.Mutex // held while a pod is given its devices: one after the other
	saving sync.Mutex // held while the checkpoint is written

	mu        sync.Mutex
	resources map[string]*offer
	given     grants
}

// offer is what there is of one resource.
type offer struct {
	devices map[string]*api.Device
	healthy sets.Set[string]
	plugins []*plugin     // the last one is asked
	primary *plugin       // or the one that was, if it has gone; nil after a restart
	stopped time.Duration // when the last plugin went, on the lab clock
}

func (o *offer) expired(now time.Duration) bool {
	return len(o.plugins) == 0 && now-o.stopped > stopGrace
}

// Capacity is what the node has of each resource, and what of it pods may ask
// for; gone are resources that have been dropped just now. Those that wait for
// their plugin after a restart of the kubelet are there with none.
func (d *Devices) Capacity() (capacity, allocatable corev1.ResourceList, gone []string) {
	capacity, allocatable = corev1.ResourceList{}, corev1.ResourceList{}
	d.mu.Lock()
	for name, o := range d.resources {
		if o.expired(d.Clock.Since()) {
			gone = append(gone, name)
			delete(d.resources, name)
			continue
		}
		capacity[corev1.ResourceName(name)] = *resource.NewQuantity(int64(len(o.devices)), resource.DecimalSI)
		allocatable[corev1.ResourceName(name)] = *resource.NewQuantity(int64(len(o.healthy)), resource.DecimalSI)
	}
	d.mu.Unlock()
	if len(gone) > 0 {
		d.remember()
	}
	return capacity, allocatable, gone
}

// Has tells whether a resource is a plugin's, or was when somebody was given
// some of it.
func (d *Devices) Has(name corev1.ResourceName) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.has(string(name))
}

func (d *Devices) has(name string) bool {
	_, offered := d.resources[name]
	return offered || len(d.given.of(name)) > 0
}

// connected begins a plugin's service; the device list comes with its first
// answer to ListAndWatch.
func (d *Devices) connected(p *plugin) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	o := d.resources[p.resource]
	if o == nil {
		o = &offer{devices: map[string]*api.Device{}, healthy: sets.New[string]()}
		d.resources[p.resource] = o
	}
	if slices.ContainsFunc(o.plugins, func(other *plugin) bool { return other.socket == p.socket }) {
		return alreadyConnected(p.socket)
	}
	o.plugins, o.primary = append(o.plugins, p), p
	return nil
}

// disconnected ends a plugin's service; with the last one of a resource all of
// its devices are unhealthy.
func (d *Devices) disconnected(p *plugin) {
	d.mu.Lock()
	o := d.resources[p.resource]
	if o == nil {
		d.mu.Unlock()
		return
	}
	o.plugins = slices.DeleteFunc(o.plugins, func(other *plugin) bool { return other == p })
	var pods []types.UID
	if n := len(o.plugins); n > 0 {
		o.primary = o.plugins[n-1]
	} else {
		o.stopped, o.healthy = d.Clock.Since(), sets.New[string]()
		for id, device := range o.devices {
			o.devices[id] = &api.Device{ID: id, Health: api.Unhealthy, Topology: device.Topology}
		}
		pods = d.given.pods(p.resource, nil)
	}
	d.mu.Unlock()
	d.remember()
	d.Changed(pods)
}

// listed takes the whole list that a plugin streams.
func (d *Devices) listed(name string, list []*api.Device) {
	d.mu.Lock()
	o := d.resources[name]
	if o == nil {
		d.mu.Unlock()
		return
	}
	other := sets.New[string]()
	devices, healthy := map[string]*api.Device{}, sets.New[string]()
	for _, device := range list {
		devices[device.ID] = device
		if device.Health == api.Healthy {
			healthy.Insert(device.ID)
		}
		if was := o.devices[device.ID]; was == nil || was.Health != device.Health {
			other.Insert(device.ID)
		}
	}
	o.devices, o.healthy = devices, healthy
	pods := d.given.pods(name, other)
	d.mu.Unlock()
	d.remember()
	d.Changed(pods)
}

// Health is what a container was given, and whether it is well, in the form of
// its status. A device that its plugin has not listed since counts as well.
func (d *Devices) Health(uid types.UID, container string) []corev1.ResourceStatus {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []corev1.ResourceStatus
	given := d.given[uid][container]
	for _, name := range slices.Sorted(maps.Keys(given)) {
		s := corev1.ResourceStatus{Name: corev1.ResourceName(name)}
		for _, id := range sets.List(given[name].ids()) {
			health := corev1.ResourceHealthStatusHealthy
			if o := d.resources[name]; o != nil && o.devices[id] != nil && o.devices[id].Health != api.Healthy {
				health = corev1.ResourceHealthStatusUnhealthy
			}
			s.Resources = append(s.Resources, corev1.ResourceHealth{ResourceID: corev1.ResourceID(id), Health: health})
		}
		list = append(list, s)
	}
	return list
}
