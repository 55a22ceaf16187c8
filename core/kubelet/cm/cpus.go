package cm

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/cpuset"
)

// CPUs gives containers CPUs of their own: the static policy of upstream's CPU
// manager, without topology. A container of a Guaranteed pod that asks for
// whole CPUs gets as many that no other may use; all others share the rest, of
// which the reserved ones are always a part.
type CPUs struct {
	path     string
	all      cpuset.CPUSet
	reserved cpuset.CPUSet

	mu    sync.Mutex
	taken map[types.UID]map[string]cpuset.CPUSet // by container
}

// cpuState is the checkpoint, in upstream's form: cpu_manager_state.
type cpuState struct {
	PolicyName    string                       `json:"policyName"`
	DefaultCPUSet string                       `json:"defaultCpuSet"`
	Entries       map[string]map[string]string `json:"entries,omitempty"`
	Checksum      uint64                       `json:"checksum"`
}

// OpenCPUs takes up what the file says was given before. The node has the CPUs
// all, of which reserved are never given away.
func OpenCPUs(path string, all, reserved cpuset.CPUSet) (*CPUs, error) {
	switch {
	case reserved.IsEmpty():
		return nil, errors.New("the static policy requires systemreserved.cpu + kubereserved.cpu to be greater than zero")
	case !reserved.IsSubsetOf(all):
		return nil, fmt.Errorf("reserved CPUs %s are not all among the node's, %s", reserved, all)
	}
	c := &CPUs{path: path, all: all, reserved: reserved, taken: map[types.UID]map[string]cpuset.CPUSet{}}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, c.save()
	}
	if err != nil {
		return nil, err
	}
	return c, c.load(data)
}

func (c *CPUs) load(data []byte) error {
	var s cpuState
	if err := json.Unmarshal(data, &s); err != nil || s.Checksum != s.sum() {
		return fmt.Errorf("%s is damaged; drain the node and remove the file", c.path)
	}
	for uid, containers := range s.Entries {
		c.taken[types.UID(uid)] = map[string]cpuset.CPUSet{}
		for name, text := range containers {
			set, err := cpuset.Parse(text)
			if err != nil || !set.IsSubsetOf(c.all.Difference(c.reserved)) {
				return fmt.Errorf("%s: container %s has CPUs %q that the node cannot give; drain the node and remove the file", c.path, name, text)
			}
			c.taken[types.UID(uid)][name] = set
		}
	}
	return nil
}

func (s cpuState) sum() uint64 {
	s.Checksum = 0
	data, _ := json.Marshal(s) // maps are in the order of their keys
	h := fnv.New32a()
	h.Write(data)
	return uint64(h.Sum32())
}

// save writes the checkpoint; c.mu is held, or nobody else knows c.
func (c *CPUs) save() error {
	s := cpuState{PolicyName: "static", DefaultCPUSet: c.shared().String(), Entries: map[string]map[string]string{}}
	for uid, containers := range c.taken {
		s.Entries[string(uid)] = map[string]string{}
		for name, set := range containers {
			s.Entries[string(uid)][name] = set.String()
		}
	}
	s.Checksum = s.sum()
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(c.path+".new", c.path)
}

// shared are the CPUs that nobody has alone.
func (c *CPUs) shared() cpuset.CPUSet {
	left := c.all
	for _, containers := range c.taken {
		for _, set := range containers {
			left = left.Difference(set)
		}
	}
	return left
}

// Exclusive is how many CPUs the container is to have alone.
func Exclusive(pod *corev1.Pod, c *corev1.Container) int {
	q := c.Resources.Requests[corev1.ResourceCPU]
	if QOS(pod) != corev1.PodQOSGuaranteed || pod.Spec.Resources != nil || q.MilliValue()%1000 != 0 {
		return 0
	}
	return int(q.Value())
}

// Take gives the pod's containers the CPUs that they are to have alone; either
// all get theirs or none. It tells whether the shared ones have become fewer.
func (c *CPUs) Take(pod *corev1.Pod) (changed bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.taken[pod.UID] != nil {
		return false, nil
	}
	given := map[string]cpuset.CPUSet{}
	free := c.shared().Difference(c.reserved)
	for i := range pod.Spec.Containers {
		container := &pod.Spec.Containers[i]
		n := Exclusive(pod, container)
		if n == 0 {
			continue
		}
		if free.Size() < n {
			return false, fmt.Errorf("not enough cpus available to satisfy request: requested=%d, available=%d", n, free.Size())
		}
		given[container.Name] = cpuset.New(free.List()[:n]...)
		free = free.Difference(given[container.Name])
	}
	if len(given) == 0 {
		return false, nil
	}
	c.taken[pod.UID] = given
	return true, c.save()
}

// Of are the CPUs that the container may use, and whether it has them alone.
func (c *CPUs) Of(uid types.UID, container string) (cpus string, alone bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if set, ok := c.taken[uid][container]; ok {
		return set.String(), true
	}
	return c.shared().String(), false
}

// Free takes the CPUs back that a pod's containers had alone; changed is as
// for Take.
func (c *CPUs) Free(uid types.UID) (changed bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.taken[uid] == nil {
		return false, nil
	}
	delete(c.taken, uid)
	return true, c.save()
}

// Pods are those that have CPUs alone.
func (c *CPUs) Pods() []types.UID {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.taken))
}
