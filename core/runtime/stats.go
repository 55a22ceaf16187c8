package runtime

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klab-project/klab/core/runtime/shim"
)

// ContainerStats implements Stats.
func (c *Client) ContainerStats(_ context.Context, id string) (*cri.ContainerStats, error) {
	m, err := c.containerMeta(id)
	if err != nil {
		return nil, err
	}
	return c.containerStats(m), nil
}

// ListContainerStats implements Stats.
func (c *Client) ListContainerStats(context.Context) ([]*cri.ContainerStats, error) {
	var all []*cri.ContainerStats
	for _, pod := range c.metasOf("") {
		all = append(all, c.podContainerStats(pod.ID)...)
	}
	return all, nil
}

func (c *Client) podContainerStats(sandboxID string) []*cri.ContainerStats {
	var all []*cri.ContainerStats
	for _, m := range c.metasOf(sandboxID) {
		if s := c.lastState(m.ID); s != nil && s.Status == shim.Running {
			all = append(all, c.containerStats(m))
		}
	}
	return all
}

// lastState is what klab-rt's events told last.
func (c *Client) lastState(id string) *shim.State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.states.known[id]
}

// containerStats has no numbers of cgroups for a container that has ended.
func (c *Client) containerStats(m *meta) *cri.ContainerStats {
	group := path.Join(m.Cgroup, m.ID)
	s := &cri.ContainerStats{
		Attributes:    &cri.ContainerAttributes{Id: m.ID, Metadata: m.container.Metadata, Labels: m.container.Labels, Annotations: m.container.Annotations},
		Cpu:           c.cpu(group),
		WritableLayer: c.diskUsage(filepath.Join(c.dir(m.ID), "up")),
	}
	s.Memory, s.Swap = c.memory(group)
	if psi := c.pressure(group, "io"); psi != nil {
		s.Io = &cri.IoUsage{Timestamp: time.Now().UnixNano(), Psi: psi}
	}
	return s
}

// PodSandboxStats implements Stats.
func (c *Client) PodSandboxStats(_ context.Context, id string) (*cri.PodSandboxStats, error) {
	m, err := c.sandboxMeta(id)
	if err != nil {
		return nil, err
	}
	return c.podStats(m), nil
}

// ListPodSandboxStats implements Stats.
func (c *Client) ListPodSandboxStats(context.Context) ([]*cri.PodSandboxStats, error) {
	var all []*cri.PodSandboxStats
	for _, m := range c.metasOf("") {
		if s := c.lastState(m.ID); s != nil && s.Status == shim.Running {
			all = append(all, c.podStats(m))
		}
	}
	return all, nil
}

func (c *Client) podStats(m *meta) *cri.PodSandboxStats {
	linux := &cri.LinuxPodSandboxStats{
		Cpu: c.cpu(m.Cgroup), Process: c.processes(m.Cgroup), Containers: c.podContainerStats(m.ID),
	}
	linux.Memory, _ = c.memory(m.Cgroup)
	if psi := c.pressure(m.Cgroup, "io"); psi != nil {
		linux.Io = &cri.IoUsage{Timestamp: time.Now().UnixNano(), Psi: psi}
	}
	if s := c.lastState(m.ID); s != nil && s.Status == shim.Running && namespaces(m.sandbox).GetNetwork() != cri.NamespaceMode_NODE {
		linux.Network = networkUsage(s.PID)
	}
	return &cri.PodSandboxStats{
		Attributes: &cri.PodSandboxAttributes{Id: m.ID, Metadata: m.sandbox.Metadata, Labels: m.sandbox.Labels, Annotations: m.sandbox.Annotations},
		Linux:      linux,
	}
}

// networkUsage reads net/dev of proc(5) in a process's network namespace.
func networkUsage(pid int) *cri.NetworkUsage {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/dev", pid))
	if err != nil {
		return nil
	}
	n := &cri.NetworkUsage{Timestamp: time.Now().UnixNano()}
	for line := range strings.Lines(string(data)) {
		name, counters, ok := strings.Cut(line, ":")
		fields := strings.Fields(counters)
		if name = strings.TrimSpace(name); !ok || len(fields) < 16 || name == "lo" {
			continue
		}
		count := func(i int) *cri.UInt64Value {
			v, _ := strconv.ParseUint(fields[i], 10, 64)
			return value(v)
		}
		i := &cri.NetworkInterfaceUsage{Name: name, RxBytes: count(0), RxErrors: count(2), TxBytes: count(8), TxErrors: count(10)}
		n.Interfaces = append(n.Interfaces, i)
		if name == "eth0" {
			n.DefaultInterface = i
		}
	}
	return n
}

// ImageFsInfo implements Stats.
func (c *Client) ImageFsInfo(context.Context) (*cri.ImageFsInfoResponse, error) {
	return &cri.ImageFsInfoResponse{
		ImageFilesystems:     []*cri.FilesystemUsage{c.diskUsage(filepath.Join(c.c.Root, "layers"))},
		ContainerFilesystems: []*cri.FilesystemUsage{c.diskUsage(filepath.Join(c.c.Root, "c"))},
	}, nil
}

// diskUsage is what the files below dir take on their file system; what is
// mounted there is not counted.
func (c *Client) diskUsage(dir string) *cri.FilesystemUsage {
	use := &cri.FilesystemUsage{Timestamp: time.Now().UnixNano(), FsId: &cri.FilesystemIdentifier{Mountpoint: c.c.Root}}
	var top unix.Stat_t
	var bytes, inodes uint64
	if unix.Lstat(dir, &top) == nil {
		linked := map[uint64]bool{}
		_ = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			var st unix.Stat_t
			switch {
			case err != nil || unix.Lstat(name, &st) != nil:
				return nil // it went meanwhile
			case st.Dev != top.Dev:
				if d.IsDir() {
					return fs.SkipDir
				}
				return nil
			case st.Nlink > 1 && !d.IsDir() && linked[st.Ino]:
				return nil
			}
			linked[st.Ino] = true
			bytes += uint64(st.Blocks) * 512
			inodes++
			return nil
		})
	}
	use.UsedBytes, use.InodesUsed = value(bytes), value(inodes)
	return use
}

// RuntimeStatus implements Runtime.
func (c *Client) RuntimeStatus(ctx context.Context) (*cri.StatusResponse, error) {
	ready := &cri.RuntimeCondition{Type: "RuntimeReady", Status: true}
	if _, err := c.Version(ctx); err != nil {
		ready.Status, ready.Reason, ready.Message = false, "KlabRTNotReady", err.Error()
	}
	network := &cri.RuntimeCondition{Type: "NetworkReady", Status: true}
	if c.c.Network == nil {
		network.Status, network.Reason, network.Message = false, "NetworkPluginNotReady", "this runtime was given no network for its pods"
	} else if err := c.c.Network.Ready(ctx); err != nil {
		network.Status, network.Reason, network.Message = false, "NetworkPluginNotReady", "Network plugin returns error: "+err.Error()
	}
	return &cri.StatusResponse{
		Status:          &cri.RuntimeStatus{Conditions: []*cri.RuntimeCondition{ready, network}},
		RuntimeHandlers: []*cri.RuntimeHandler{{Features: &cri.RuntimeHandlerFeatures{RecursiveReadOnlyMounts: true, UserNamespaces: true}}},
		Features:        &cri.RuntimeFeatures{SupplementalGroupsPolicy: true},
	}, nil
}
