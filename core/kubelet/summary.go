package kubelet

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	corev1 "k8s.io/api/core/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/klab-project/klab/core/kubelet/stats"
	"github.com/klab-project/klab/core/kubelet/volume"
)

// openStats prepares the reading of what the node and its pods use.
func (k *Kubelet) openStats() *stats.Source {
	s := &stats.Source{
		NodeName: k.NodeName, Runtime: k.Runtime, Root: k.Root, Images: k.Root,
		Memory: func() int64 { return k.node.memory() }, Pods: k.statsPods,
	}
	if k.groups != nil {
		s.Group = func() (stats.Group, error) {
			u, err := k.groups.Usage()
			return stats.Group(u), err
		}
	}
	return stats.Open(s)
}

// statsPods are the node's pods with where they write.
func (k *Kubelet) statsPods() []stats.Pod {
	k.mu.Lock()
	var workers []*podWorker
	for _, w := range k.workers {
		workers = append(workers, w)
	}
	k.mu.Unlock()
	var list []stats.Pod
	for _, w := range workers {
		pod := w.current().DeepCopy()
		w.published().DeepCopyInto(&pod.Status)
		p := stats.Pod{Pod: pod, Logs: k.logDir(pod), Volumes: map[string]string{}}
		for i := range pod.Spec.Volumes {
			v := &pod.Spec.Volumes[i]
			if !takesSpace(v) {
				continue
			}
			if dir, err := volume.Path(k.podDir(pod.UID), v); err == nil {
				p.Volumes[v.Name] = dir
			}
		}
		list = append(list, p)
	}
	return list
}

// takesSpace tells whether a volume is the node's own to keep.
func takesSpace(v *corev1.Volume) bool {
	return v.EmptyDir != nil || v.ConfigMap != nil || v.Secret != nil || v.DownwardAPI != nil || v.Projected != nil
}

func (k *Kubelet) serveSummary(w http.ResponseWriter, r *http.Request) {
	summary, err := k.stats.Summary(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if only := r.URL.Query().Get("only_cpu_and_memory"); only == "true" {
		summary = cpuAndMemory(summary)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(summary)
}

func cpuAndMemory(s *statsapi.Summary) *statsapi.Summary {
	s.Node.Fs, s.Node.Runtime, s.Node.Rlimit, s.Node.Network = nil, nil, nil, nil
	for i := range s.Pods {
		p := &s.Pods[i]
		p.Network, p.VolumeStats, p.EphemeralStorage, p.ProcessStats = nil, nil, nil, nil
		for j := range p.Containers {
			p.Containers[j].Rootfs, p.Containers[j].Logs = nil, nil
		}
	}
	return s
}

func (k *Kubelet) serveResourceMetrics(w http.ResponseWriter, r *http.Request) {
	k.serveMetrics(w, r, func(s *statsapi.Summary) { stats.Resource(w, s) })
}

func (k *Kubelet) serveCadvisor(w http.ResponseWriter, r *http.Request) {
	k.serveMetrics(w, r, func(s *statsapi.Summary) { stats.Cadvisor(w, s) })
}

func (k *Kubelet) serveMetrics(w http.ResponseWriter, r *http.Request, write func(*statsapi.Summary)) {
	summary, err := k.stats.Summary(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	write(summary)
}

// serveOwnMetrics are the kubelet's own: /metrics.
func (k *Kubelet) serveOwnMetrics(w http.ResponseWriter, r *http.Request) {
	running := map[string]int{}
	containers, err := k.Runtime.ListContainers(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	for _, c := range containers {
		running[map[bool]string{true: "running", false: "exited"}[c.State == 1]]++
	}
	pods := 0
	for _, pod := range k.pods() {
		if pod.Status.Phase == corev1.PodRunning {
			pods++
		}
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	fmt.Fprintf(w, "# HELP kubelet_node_name [ALPHA] The node's name. The count is always 1.\n# TYPE kubelet_node_name gauge\nkubelet_node_name{node=%q} 1\n", k.NodeName)
	fmt.Fprintf(w, "# HELP kubelet_running_pods [ALPHA] Number of pods that have a running pod sandbox\n# TYPE kubelet_running_pods gauge\nkubelet_running_pods %d\n", pods)
	fmt.Fprint(w, "# HELP kubelet_running_containers [ALPHA] Number of containers currently running\n# TYPE kubelet_running_containers gauge\n")
	for _, state := range slices.Sorted(func(yield func(string) bool) {
		for s := range running {
			if !yield(s) {
				return
			}
		}
	}) {
		fmt.Fprintf(w, "kubelet_running_containers{container_state=%q} %d\n", state, running[state])
	}
}
