package kubelet

import (
	"fmt"
	"maps"
	"time"

	"github.com/klab-project/klab/core/step"
)

// shapeOf is a process tree without what differs each time: how many there are
// of each kind, a kind being a container's command under a parent's.
func shapeOf(d *step.ProcessesDetail) map[string]int {
	comm := map[int]string{}
	for _, p := range d.Processes {
		comm[p.PID] = p.Comm
	}
	shape := map[string]int{}
	for _, p := range d.Processes {
		key := fmt.Sprintf("%s\x00%s\x00%s\x00%d\x00%s", p.Container, comm[p.Parent], p.Comm, p.UID, p.State)
		if p.Inner == 1 || p.Container == "" {
			key += fmt.Sprint("\x00", p.PID) // a container's first process is always news
		}
		shape[key]++
	}
	return shape
}

func sameShape(a, b map[string]int) bool { return b != nil && maps.Equal(a, b) }

// rate works out how much of a CPU each cgroup has used since the last look.
func rate(d, last *step.UsageDetail, since time.Duration) {
	if last == nil || since <= 0 {
		return
	}
	milli := func(now, then step.Seconds) int64 {
		return max(0, int64((time.Duration(now-then)*1000+since/2)/since))
	}
	d.Pod.Milli = milli(d.Pod.CPU, last.Pod.CPU)
	for name, u := range d.Containers {
		if old, ok := last.Containers[name]; ok {
			u.Milli = milli(u.CPU, old.CPU)
			d.Containers[name] = u
		}
	}
}

// worth tells whether a usage differs enough from the one that was recorded.
func worth(d, old *step.UsageDetail) bool {
	if usageDiffers(d.Pod, old.Pod) || len(d.Containers) != len(old.Containers) {
		return true
	}
	for name, u := range d.Containers {
		before, ok := old.Containers[name]
		if !ok || usageDiffers(u, before) {
			return true
		}
	}
	return false
}

const (
	milliStep  = 10      // thousandths of a CPU
	memoryStep = 1 << 20 // bytes
)

// usageDiffers: by a tenth and by more than the smallest amount that anybody would
// notice; a kill of the kernel's always counts.
func usageDiffers(a, b step.CgroupUsage) bool {
	far := func(x, y, least int64) bool {
		gap := x - y
		if gap < 0 {
			gap = -gap
		}
		return gap >= least && gap*10 >= max(x, y)
	}
	return far(a.Milli, b.Milli, milliStep) || (a.Milli == 0) != (b.Milli == 0) && max(a.Milli, b.Milli) >= milliStep/2 ||
		far(a.Memory, b.Memory, memoryStep) || a.Pids != b.Pids || a.OOMKills != b.OOMKills || far(a.Throttled, b.Throttled, 1)
}
