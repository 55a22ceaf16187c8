package kubelet

import (
	"cmp"
	"context"
	"net"
	"os"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"golang.org/x/sys/unix"
)

// machine is what the kernel says about the machine.
type machine struct {
	os, arch, kernel, image string
	id, boot, runtime       string
	cpus                    int
	memory, disk            int64
}

func readMachine(root string) (machine, error) {
	m := machine{os: goruntime.GOOS, arch: goruntime.GOARCH, cpus: goruntime.NumCPU()}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return m, err
	}
	m.kernel = unix.ByteSliceToString(uts.Release[:])
	var fs unix.Statfs_t
	if err := unix.Statfs(root, &fs); err != nil {
		return m, err
	}
	m.disk = int64(fs.Blocks) * fs.Bsize
	m.memory = memTotal()
	m.id, m.boot = readLine("/etc/machine-id"), readLine("/proc/sys/kernel/random/boot_id")
	m.image = "Linux"
	text, _ := os.ReadFile("/etc/os-release")
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
			m.image = strings.Trim(value, `"`)
		}
	}
	return m, nil
}

func readLine(path string) string {
	text, _ := os.ReadFile(path)
	return strings.TrimSpace(string(text))
}

// memTotal reads proc(5)'s meminfo, in bytes.
func memTotal() int64 {
	text, _ := os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) >= 2 && fields[0] == "MemTotal:" {
			kib, _ := strconv.ParseInt(fields[1], 10, 64)
			return kib << 10
		}
	}
	return 0
}

func (m *machine) capacity() corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:              *resource.NewQuantity(int64(m.cpus), resource.DecimalSI),
		corev1.ResourceMemory:           *resource.NewQuantity(m.memory, resource.BinarySI),
		corev1.ResourcePods:             *resource.NewQuantity(110, resource.DecimalSI),
		corev1.ResourceEphemeralStorage: *resource.NewQuantity(m.disk, resource.BinarySI),
	}
}

func (m *machine) info(version string) corev1.NodeSystemInfo {
	return corev1.NodeSystemInfo{
		MachineID: m.id, SystemUUID: m.id, BootID: m.boot, KernelVersion: m.kernel, OSImage: m.image,
		ContainerRuntimeVersion: m.runtime, KubeletVersion: version, OperatingSystem: m.os, Architecture: m.arch,
	}
}

// nodeConditions are the four that kubelets write, in upstream's words; others
// are kept, and so is the time at which each last changed.
func nodeConditions(old []corev1.NodeCondition, now metav1.Time, trouble error, under func(corev1.NodeConditionType) bool) []corev1.NodeCondition {
	ready := corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", Message: "kubelet is posting ready status"}
	if trouble != nil {
		ready.Status, ready.Reason, ready.Message = corev1.ConditionFalse, "KubeletNotReady", trouble.Error()
	}
	list := append(pressures(under), ready)
	for i := range list {
		c := &list[i]
		c.LastHeartbeatTime, c.LastTransitionTime = now, now
		for _, o := range old {
			if o.Type == c.Type && o.Status == c.Status {
				c.LastTransitionTime = o.LastTransitionTime
			}
		}
	}
	for _, o := range old {
		if !slices.ContainsFunc(list, func(c corev1.NodeCondition) bool { return c.Type == o.Type }) {
			list = append([]corev1.NodeCondition{o}, list...)
		}
	}
	return list
}

// pressures are the conditions about what the node has left.
func pressures(under func(corev1.NodeConditionType) bool) []corev1.NodeCondition {
	words := []struct {
		t                          corev1.NodeConditionType
		bad, badText, good, okText string
	}{
		{corev1.NodeMemoryPressure, "KubeletHasInsufficientMemory", "kubelet has insufficient memory available", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"},
		{corev1.NodeDiskPressure, "KubeletHasDiskPressure", "kubelet has disk pressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"},
		{corev1.NodePIDPressure, "KubeletHasInsufficientPID", "kubelet has insufficient PID available", "KubeletHasSufficientPID", "kubelet has sufficient PID available"},
	}
	var list []corev1.NodeCondition
	for _, w := range words {
		c := corev1.NodeCondition{Type: w.t, Status: corev1.ConditionFalse, Reason: w.good, Message: w.okText}
		if under(w.t) {
			c.Status, c.Reason, c.Message = corev1.ConditionTrue, w.bad, w.badText
		}
		list = append(list, c)
	}
	return list
}

// maxImages is how many images a Node lists, the largest first.
const maxImages = 50

func (n *node) images(ctx context.Context) []corev1.ContainerImage {
	images, err := n.k.Runtime.ListImages(ctx)
	if err != nil {
		return nil
	}
	var list []corev1.ContainerImage
	for _, i := range images {
		if names := append(slices.Clone(i.RepoDigests), i.RepoTags...); len(names) > 0 {
			list = append(list, corev1.ContainerImage{Names: names, SizeBytes: int64(i.GetSize())})
		}
	}
	slices.SortFunc(list, func(a, b corev1.ContainerImage) int {
		return cmp.Or(cmp.Compare(b.SizeBytes, a.SizeBytes), cmp.Compare(a.Names[0], b.Names[0]))
	})
	return list[:min(len(list), maxImages)]
}

func listenPort(l net.Listener) int32 {
	_, port, _ := net.SplitHostPort(l.Addr().String())
	n, _ := strconv.Atoi(port)
	return int32(n)
}
