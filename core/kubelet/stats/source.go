package stats

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	api "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// Runtime has the numbers of pods, containers and images.
type Runtime interface {
	ListPodSandboxStats(ctx context.Context) ([]*cri.PodSandboxStats, error)
	ImageFsInfo(ctx context.Context) (*cri.ImageFsInfoResponse, error)
}

// Group is what the control group around all pods uses.
type Group struct {
	CPU        time.Duration // so far
	Memory     uint64        // bytes
	WorkingSet uint64        // of them, without files that nobody used lately
	RSS        uint64
	Pids       uint64
}

// Pod is a pod of the node and where its files are.
type Pod struct {
	*corev1.Pod
	Logs    string            // directory
	Volumes map[string]string // directories of those that take space of the node, by name
}

// Source is where a node's numbers come from.
type Source struct {
	NodeName string
	Runtime  Runtime
	Root     string                // a directory on the file system of volumes and logs
	Images   string                // one on that of images and containers
	Memory   func() int64          // the node's capacity, in bytes
	Pods     func() []Pod          // that the node has
	Group    func() (Group, error) // nil: the pods have none

	began time.Time
	mu    sync.Mutex
	last  map[string]sample
}

// sample is a counter of CPU time at one moment.
type sample struct {
	at    time.Time
	nanos uint64
	speed *uint64
}

// Open gives a source its beginning.
func Open(s *Source) *Source {
	s.began, s.last = now(), map[string]sample{}
	return s
}

// now is the machine's time: what is measured happens there.
func now() time.Time { return time.Now() } //nolint:forbidigo // see above

// speed is the use of CPU since an earlier look, in nano-cores; nil if there is
// none at least a second ago.
func (s *Source) speed(name string, at time.Time, nanos uint64) *uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	last, known := s.last[name]
	passed := at.Sub(last.at)
	if known && (passed < time.Second || nanos < last.nanos) {
		return last.speed
	}
	next := sample{at: at, nanos: nanos}
	if known {
		v := uint64(float64(nanos-last.nanos) / passed.Seconds())
		next.speed = &v
	}
	s.last[name] = next
	return next.speed
}

// Summary is everything: the node and each of its pods.
func (s *Source) Summary(ctx context.Context) (*api.Summary, error) {
	node, err := s.Node(ctx)
	if err != nil {
		return nil, err
	}
	pods, err := s.PodStats(ctx)
	if err != nil {
		return nil, err
	}
	return &api.Summary{Node: *node, Pods: pods}, nil
}

// Node is the node as a whole.
func (s *Source) Node(_ context.Context) (*api.NodeStats, error) {
	at := now()
	group := Group{}
	if s.Group != nil {
		var err error
		if group, err = s.Group(); err != nil {
			return nil, err
		}
	}
	self := ownUse()
	n := &api.NodeStats{NodeName: s.NodeName, StartTime: metav1.NewTime(s.began)}
	n.CPU = s.cpu("node", at, group.CPU+self.CPU)
	n.Memory = memory(at, group.WorkingSet+self.WorkingSet, group.Memory+self.Memory, group.RSS+self.RSS)
	free := uint64(max(s.Memory()-int64(group.WorkingSet+self.WorkingSet), 0))
	if machine, ok := available(); ok {
		free = min(free, machine)
	}
	n.Memory.AvailableBytes = &free
	n.SystemContainers = []api.ContainerStats{
		{Name: api.SystemContainerKubelet, StartTime: n.StartTime, CPU: s.cpu("kubelet", at, self.CPU), Memory: memory(at, self.WorkingSet, self.Memory, self.RSS)},
		{Name: api.SystemContainerPods, StartTime: n.StartTime, CPU: s.cpu("pods", at, group.CPU), Memory: memory(at, group.WorkingSet, group.Memory, group.RSS)},
	}
	n.Fs = fileSystem(s.Root, at)
	n.Runtime = &api.RuntimeStats{ImageFs: fileSystem(s.Images, at), ContainerFs: fileSystem(s.Images, at)}
	n.Rlimit = processes(at)
	return n, nil
}

func (s *Source) cpu(name string, at time.Time, used time.Duration) *api.CPUStats {
	nanos := uint64(used)
	return &api.CPUStats{Time: metav1.NewTime(at), UsageCoreNanoSeconds: &nanos, UsageNanoCores: s.speed(name, at, nanos)}
}

func memory(at time.Time, working, usage, rss uint64) *api.MemoryStats {
	return &api.MemoryStats{Time: metav1.NewTime(at), WorkingSetBytes: &working, UsageBytes: &usage, RSSBytes: &rss}
}
