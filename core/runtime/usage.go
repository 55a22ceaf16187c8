package runtime

import (
	"os"
	"strconv"
	"strings"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// rate is a cgroup's use of processors when it was last looked at.
type rate struct {
	at    time.Time
	nanos uint64  // used so far
	speed *uint64 // per second, between the last two looks
}

// rateInterval is how long the looks must lie apart for their difference to say
// something.
const rateInterval = time.Second

// cpu is a cgroup's use of processors, with its speed since an earlier look.
func (c *Client) cpu(group string) *cri.CpuUsage {
	now := time.Now()
	nanos, ok := c.cgroup.number("cpuacct", group, "cpuacct.usage")
	if c.cgroup.v2 {
		var micros uint64
		micros, ok = c.cgroup.table("cpu", group, "cpu.stat")["usage_usec"]
		nanos = micros * 1000
	}
	if !ok {
		return nil
	}
	use := &cri.CpuUsage{Timestamp: now.UnixNano(), UsageCoreNanoSeconds: value(nanos), Psi: c.pressure(group, "cpu")}
	if speed := c.speed(group, now, nanos); speed != nil {
		use.UsageNanoCores = value(*speed)
	}
	return use
}

func (c *Client) speed(group string, now time.Time, nanos uint64) *uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	last, known := c.rates[group]
	passed := now.Sub(last.at)
	if known && (passed < rateInterval || nanos < last.nanos) {
		return last.speed
	}
	next := rate{at: now, nanos: nanos}
	if known {
		speed := uint64(float64(nanos-last.nanos) / passed.Seconds())
		next.speed = &speed
	}
	c.rates[group] = next
	return next.speed
}

// memory is a cgroup's use of memory. The working set is what is left when the
// kernel drops files that nobody used lately, as kubelets count it.
func (c *Client) memory(group string) (*cri.MemoryUsage, *cri.SwapUsage) {
	names := []string{"memory.usage_in_bytes", "memory.limit_in_bytes", "total_inactive_file", "total_rss", "total_pgfault", "total_pgmajfault"}
	if c.cgroup.v2 {
		names = []string{"memory.current", "memory.max", "inactive_file", "anon", "pgfault", "pgmajfault"}
	}
	used, ok := c.cgroup.number("memory", group, names[0])
	if !ok {
		return nil, nil
	}
	now := time.Now().UnixNano()
	stat := c.cgroup.table("memory", group, "memory.stat")
	working := used - min(used, stat[names[2]])
	m := &cri.MemoryUsage{
		Timestamp: now, UsageBytes: value(used), WorkingSetBytes: value(working),
		RssBytes: value(stat[names[3]]), PageFaults: value(stat[names[4]]), MajorPageFaults: value(stat[names[5]]),
		Psi: c.pressure(group, "memory"),
	}
	if limit, ok := c.cgroup.number("memory", group, names[1]); ok && limit < 1<<62 {
		m.AvailableBytes = value(limit - min(limit, working))
	}
	return m, c.swap(group, used, now)
}

func (c *Client) swap(group string, used uint64, now int64) *cri.SwapUsage {
	if c.cgroup.v2 {
		swapped, ok := c.cgroup.number("memory", group, "memory.swap.current")
		if !ok {
			return nil
		}
		s := &cri.SwapUsage{Timestamp: now, SwapUsageBytes: value(swapped)}
		if limit, ok := c.cgroup.number("memory", group, "memory.swap.max"); ok && limit < 1<<62 {
			s.SwapAvailableBytes = value(limit - min(limit, swapped))
		}
		return s
	}
	both, ok := c.cgroup.number("memory", group, "memory.memsw.usage_in_bytes")
	if !ok {
		return nil
	}
	return &cri.SwapUsage{Timestamp: now, SwapUsageBytes: value(both - min(both, used))}
}

// processes counts a cgroup's processes and threads, with those below it.
func (c *Client) processes(group string) *cri.ProcessUsage {
	n, ok := c.cgroup.number("pids", group, "pids.current")
	if !ok {
		return nil
	}
	return &cri.ProcessUsage{Timestamp: time.Now().UnixNano(), ProcessCount: value(n)}
}

// pressure is how long processes waited for a resource: files of cgroup v2.
func (c *Client) pressure(group, resource string) *cri.PsiStats {
	if !c.cgroup.v2 {
		return nil
	}
	data, err := os.ReadFile(c.cgroup.file("", group, resource+".pressure"))
	if err != nil {
		return nil
	}
	psi := &cri.PsiStats{}
	for line := range strings.Lines(string(data)) {
		kind, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch kind {
		case "some":
			psi.Some = psiData(rest)
		case "full":
			psi.Full = psiData(rest)
		}
	}
	return psi
}

// psiData reads "avg10=0.00 avg60=0.00 avg300=0.00 total=0"; the total is in
// microseconds, CRI's in nanoseconds.
func psiData(text string) *cri.PsiData {
	d := &cri.PsiData{}
	for field := range strings.FieldsSeq(text) {
		name, number, _ := strings.Cut(field, "=")
		v, err := strconv.ParseFloat(number, 64)
		if err != nil {
			continue
		}
		switch name {
		case "avg10":
			d.Avg10 = v
		case "avg60":
			d.Avg60 = v
		case "avg300":
			d.Avg300 = v
		case "total":
			d.Total = uint64(v) * 1000
		}
	}
	return d
}

func value(n uint64) *cri.UInt64Value { return &cri.UInt64Value{Value: n} }
