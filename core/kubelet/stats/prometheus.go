package stats

import (
	"fmt"
	"io"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	api "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// family is one metric with its samples, as Prometheus' text format has it.
type family struct {
	name, help, kind string
	lines            []string
}

func (f *family) add(value float64, at metav1.Time, labels ...string) {
	var b strings.Builder
	for i := 0; i+1 < len(labels); i += 2 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%s=%q", labels[i], labels[i+1])
	}
	line := f.name
	if b.Len() > 0 {
		line += "{" + b.String() + "}"
	}
	line += fmt.Sprintf(" %v", value)
	if !at.IsZero() {
		line += fmt.Sprintf(" %d", at.UnixMilli())
	}
	f.lines = append(f.lines, line)
}

func (f *family) write(w io.Writer) {
	if len(f.lines) > 0 {
		fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n%s\n", f.name, f.help, f.name, f.kind, strings.Join(f.lines, "\n"))
	}
}

func (f *family) cpu(c *api.CPUStats, labels ...string) {
	if c != nil && c.UsageCoreNanoSeconds != nil {
		f.add(float64(*c.UsageCoreNanoSeconds)/1e9, c.Time, labels...)
	}
}

func (f *family) memory(m *api.MemoryStats, labels ...string) {
	if m != nil && m.WorkingSetBytes != nil {
		f.add(float64(*m.WorkingSetBytes), m.Time, labels...)
	}
}

// Resource writes what metrics-server reads, with upstream's names:
// /metrics/resource.
func Resource(w io.Writer, s *api.Summary) {
	stable := func(name, help, kind string) *family {
		return &family{name: name, help: "[STABLE] " + help, kind: kind}
	}
	containerCPU := stable("container_cpu_usage_seconds_total", "Cumulative cpu time consumed by the container in core-seconds", "counter")
	containerMemory := stable("container_memory_working_set_bytes", "Current working set of the container in bytes", "gauge")
	containerStart := stable("container_start_time_seconds", "Start time of the container since unix epoch in seconds", "gauge")
	nodeCPU := stable("node_cpu_usage_seconds_total", "Cumulative cpu time consumed by the node in core-seconds", "counter")
	nodeMemory := stable("node_memory_working_set_bytes", "Current working set of the node in bytes", "gauge")
	podCPU := stable("pod_cpu_usage_seconds_total", "Cumulative cpu time consumed by the pod in core-seconds", "counter")
	podMemory := stable("pod_memory_working_set_bytes", "Current working set of the pod in bytes", "gauge")
	failed := stable("resource_scrape_error", "1 if there was an error while getting container metrics, 0 otherwise", "gauge")

	nodeCPU.cpu(s.Node.CPU)
	nodeMemory.memory(s.Node.Memory)
	for _, p := range s.Pods {
		pod := []string{"namespace", p.PodRef.Namespace, "pod", p.PodRef.Name}
		podCPU.cpu(p.CPU, pod...)
		podMemory.memory(p.Memory, pod...)
		for _, c := range p.Containers {
			labels := append([]string{"container", c.Name}, pod...)
			containerCPU.cpu(c.CPU, labels...)
			containerMemory.memory(c.Memory, labels...)
			containerStart.add(float64(c.StartTime.UnixNano())/1e9, metav1.Time{}, labels...)
		}
	}
	failed.add(0, metav1.Time{})
	for _, f := range []*family{containerCPU, containerMemory, containerStart, nodeCPU, nodeMemory, podCPU, podMemory, failed} {
		f.write(w)
	}
}

// Cadvisor writes the best known of cAdvisor's metrics: /metrics/cadvisor.
func Cadvisor(w io.Writer, s *api.Summary) {
	cpu := &family{name: "container_cpu_usage_seconds_total", help: "Cumulative cpu time consumed in seconds.", kind: "counter"}
	working := &family{name: "container_memory_working_set_bytes", help: "Current working set in bytes.", kind: "gauge"}
	usage := &family{name: "container_memory_usage_bytes", help: "Current memory usage in bytes, including all memory regardless of when it was accessed", kind: "gauge"}
	rss := &family{name: "container_memory_rss", help: "Size of RSS in bytes.", kind: "gauge"}
	disk := &family{name: "container_fs_usage_bytes", help: "Number of bytes that are consumed by the container on this filesystem.", kind: "gauge"}
	received := &family{name: "container_network_receive_bytes_total", help: "Cumulative count of bytes received", kind: "counter"}
	sent := &family{name: "container_network_transmit_bytes_total", help: "Cumulative count of bytes transmitted", kind: "counter"}
	optional := func(f *family, v *uint64, at metav1.Time, labels ...string) {
		if v != nil {
			f.add(float64(*v), at, labels...)
		}
	}
	for _, p := range s.Pods {
		for _, c := range p.Containers {
			labels := []string{"container", c.Name, "namespace", p.PodRef.Namespace, "pod", p.PodRef.Name}
			cpu.cpu(c.CPU, labels...)
			working.memory(c.Memory, labels...)
			if c.Memory != nil {
				optional(usage, c.Memory.UsageBytes, c.Memory.Time, labels...)
				optional(rss, c.Memory.RSSBytes, c.Memory.Time, labels...)
			}
			optional(disk, c.Rootfs.UsedBytes, c.Rootfs.Time, labels...)
		}
		if p.Network != nil {
			for _, i := range p.Network.Interfaces {
				labels := []string{"interface", i.Name, "namespace", p.PodRef.Namespace, "pod", p.PodRef.Name}
				optional(received, i.RxBytes, p.Network.Time, labels...)
				optional(sent, i.TxBytes, p.Network.Time, labels...)
			}
		}
	}
	for _, f := range []*family{cpu, working, usage, rss, disk, received, sent} {
		f.write(w)
	}
}
