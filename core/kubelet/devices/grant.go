package devices

import (
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// noNode stands for a device that belongs to no NUMA node.
const noNode = -1

// grant is what one container was given of one resource.
type grant struct {
	devices map[int64][]string // ids by NUMA node
	answer  *api.ContainerAllocateResponse
}

func (g grant) ids() sets.Set[string] {
	ids := sets.New[string]()
	for _, list := range g.devices {
		ids.Insert(list...)
	}
	return ids
}

// grants are by pod, container and resource.
type grants map[types.UID]map[string]map[string]grant

func (g grants) add(uid types.UID, container, resource string, what grant) {
	if g[uid] == nil {
		g[uid] = map[string]map[string]grant{}
	}
	if g[uid][container] == nil {
		g[uid][container] = map[string]grant{}
	}
	g[uid][container][resource] = what
}

// of is all that was given of a resource.
func (g grants) of(resource string) sets.Set[string] {
	ids := sets.New[string]()
	for _, containers := range g {
		for _, resources := range containers {
			ids = ids.Union(resources[resource].ids())
		}
	}
	return ids
}

// pods are those that have one of ids, or any of the resource for nil.
func (g grants) pods(resource string, ids sets.Set[string]) []types.UID {
	found := sets.New[types.UID]()
	for uid, containers := range g {
		for _, resources := range containers {
			if has := resources[resource].ids(); ids == nil && len(has) > 0 || has.HasAny(ids.UnsortedList()...) {
				found.Insert(uid)
			}
		}
	}
	return sets.List(found)
}

// Use is how a container comes to what it was given.
type Use struct {
	Envs        []*cri.KeyValue
	Mounts      []*cri.Mount
	Devices     []*cri.Device
	CDI         []*cri.CDIDevice
	Annotations map[string]string
}

// use joins what the plugins said; of two that want the same name or path the
// resource that comes first in the alphabet has it.
func use(given map[string]grant) *Use {
	u := &Use{Annotations: map[string]string{}}
	taken := sets.New[string]()
	first := func(kind, name string) bool {
		defer taken.Insert(kind + name)
		return !taken.Has(kind + name)
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		a := given[name].answer
		for _, key := range slices.Sorted(maps.Keys(a.GetEnvs())) {
			if first("env ", key) {
				u.Envs = append(u.Envs, &cri.KeyValue{Key: key, Value: []byte(a.Envs[key])})
			}
		}
		for _, m := range a.GetMounts() {
			if first("mount ", m.ContainerPath) {
				u.Mounts = append(u.Mounts, &cri.Mount{HostPath: m.HostPath, ContainerPath: m.ContainerPath, Readonly: m.ReadOnly})
			}
		}
		for _, device := range a.GetDevices() {
			if first("device ", device.ContainerPath) {
				u.Devices = append(u.Devices, &cri.Device{HostPath: device.HostPath, ContainerPath: device.ContainerPath, Permissions: device.Permissions})
			}
		}
		for key, value := range a.GetAnnotations() {
			if first("annotation ", key) {
				u.Annotations[key] = value
			}
		}
		for _, device := range a.GetCdiDevices() {
			if first("cdi ", device.Name) {
				u.CDI = append(u.CDI, &cri.CDIDevice{Name: device.Name})
			}
		}
	}
	return u
}
