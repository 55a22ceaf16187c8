package stats

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	api "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// PodStats are the pods that run, each with its containers, its volumes and
// what it has written to the node's disk.
func (s *Source) PodStats(ctx context.Context) ([]api.PodStats, error) {
	boxes, err := s.Runtime.ListPodSandboxStats(ctx)
	if err != nil {
		return nil, fmt.Errorf("numbers of pods: %w", err)
	}
	pods := map[string]Pod{}
	for _, p := range s.Pods() {
		pods[string(p.UID)] = p
	}
	var list []api.PodStats
	for _, box := range boxes {
		pod, known := pods[box.GetAttributes().GetMetadata().GetUid()]
		if known {
			list = append(list, s.pod(pod, box))
		}
	}
	slices.SortFunc(list, func(a, b api.PodStats) int {
		return cmp.Or(cmp.Compare(a.PodRef.Namespace, b.PodRef.Namespace), cmp.Compare(a.PodRef.Name, b.PodRef.Name))
	})
	return list, nil
}

func (s *Source) pod(pod Pod, box *cri.PodSandboxStats) api.PodStats {
	linux := box.GetLinux()
	p := api.PodStats{
		PodRef:    api.PodReference{Name: pod.Name, Namespace: pod.Namespace, UID: string(pod.UID)},
		StartTime: started(pod.Pod, ""), CPU: cpuOf(linux.GetCpu()), Memory: memoryOf(linux.GetMemory()), Network: networkOf(linux.GetNetwork()),
	}
	if n := linux.GetProcess().GetProcessCount(); n != nil {
		p.ProcessStats = &api.ProcessStats{ProcessCount: &n.Value}
	}
	at := now()
	node := fileSystem(s.Root, at)
	var bytes, inodes uint64
	add := func(f *api.FsStats) {
		if f != nil && f.UsedBytes != nil && f.InodesUsed != nil {
			bytes, inodes = bytes+*f.UsedBytes, inodes+*f.InodesUsed
		}
	}
	for _, c := range linux.GetContainers() {
		name := c.GetAttributes().GetMetadata().GetName()
		one := api.ContainerStats{Name: name, StartTime: started(pod.Pod, name), CPU: cpuOf(c.Cpu), Memory: memoryOf(c.Memory)}
		one.Logs = directory(filepath.Join(pod.Logs, name), node)
		one.Rootfs = layer(c.GetWritableLayer(), fileSystem(s.Images, at))
		add(one.Logs)
		add(one.Rootfs)
		p.Containers = append(p.Containers, one)
	}
	slices.SortFunc(p.Containers, func(a, b api.ContainerStats) int { return cmp.Compare(a.Name, b.Name) })
	for _, name := range slices.Sorted(maps.Keys(pod.Volumes)) {
		v := api.VolumeStats{Name: name, FsStats: *directory(pod.Volumes[name], fileSystem(pod.Volumes[name], at))}
		p.VolumeStats = append(p.VolumeStats, v)
		if !inMemory(pod.Pod, name) {
			add(&v.FsStats)
		}
	}
	p.EphemeralStorage = used(node, bytes, inodes)
	return p
}

// inMemory tells whether a volume takes memory and not disk.
func inMemory(pod *corev1.Pod, name string) bool {
	return slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
		return v.Name == name && v.EmptyDir != nil && v.EmptyDir.Medium == corev1.StorageMediumMemory
	})
}

// started is when the pod was taken, or when one of its containers began.
func started(pod *corev1.Pod, container string) metav1.Time {
	for _, list := range [][]corev1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses, pod.Status.EphemeralContainerStatuses} {
		for i := range list {
			if list[i].Name == container && list[i].State.Running != nil {
				return list[i].State.Running.StartedAt
			}
		}
	}
	if pod.Status.StartTime != nil {
		return *pod.Status.StartTime
	}
	return pod.CreationTimestamp
}

// directory is what dir takes of a file system.
func directory(dir string, of *api.FsStats) *api.FsStats {
	size, inodes := Usage(dir)
	return used(of, size, inodes)
}

func layer(u *cri.FilesystemUsage, of *api.FsStats) *api.FsStats {
	return used(of, u.GetUsedBytes().GetValue(), u.GetInodesUsed().GetValue())
}

// used is a part of a file system.
func used(of *api.FsStats, size, inodes uint64) *api.FsStats {
	f := api.FsStats{Time: metav1.NewTime(now())}
	if of != nil {
		f = *of
	}
	f.UsedBytes, f.InodesUsed = &size, &inodes
	return &f
}

func at(nanos int64) metav1.Time { return metav1.NewTime(time.Unix(0, nanos)) }

func number(v *cri.UInt64Value) *uint64 {
	if v == nil {
		return nil
	}
	return &v.Value
}

func cpuOf(u *cri.CpuUsage) *api.CPUStats {
	if u == nil {
		return nil
	}
	return &api.CPUStats{Time: at(u.Timestamp), UsageCoreNanoSeconds: number(u.UsageCoreNanoSeconds), UsageNanoCores: number(u.UsageNanoCores)}
}

func memoryOf(u *cri.MemoryUsage) *api.MemoryStats {
	if u == nil {
		return nil
	}
	return &api.MemoryStats{Time: at(u.Timestamp), AvailableBytes: number(u.AvailableBytes), UsageBytes: number(u.UsageBytes),
		WorkingSetBytes: number(u.WorkingSetBytes), RSSBytes: number(u.RssBytes), PageFaults: number(u.PageFaults), MajorPageFaults: number(u.MajorPageFaults)}
}

func networkOf(u *cri.NetworkUsage) *api.NetworkStats {
	if u == nil {
		return nil
	}
	n := &api.NetworkStats{Time: at(u.Timestamp)}
	one := func(i *cri.NetworkInterfaceUsage) api.InterfaceStats {
		return api.InterfaceStats{Name: i.Name, RxBytes: number(i.RxBytes), RxErrors: number(i.RxErrors), TxBytes: number(i.TxBytes), TxErrors: number(i.TxErrors)}
	}
	if u.DefaultInterface != nil {
		n.InterfaceStats = one(u.DefaultInterface)
	}
	for _, i := range u.Interfaces {
		n.Interfaces = append(n.Interfaces, one(i))
	}
	return n
}
