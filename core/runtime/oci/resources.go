package oci

import (
	"fmt"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// DefaultPids bounds the processes of a container that sets no "pids.max" in
// its unified resources.
const DefaultPids = 4096

// Resources are the cgroup numbers that r sets: nothing else is in the result,
// so that it may be laid over what a container has. On cgroup v1 the entries
// of r's unified map are said in v1's words, as far as it has any.
func Resources(r *cri.LinuxContainerResources, v2 bool) (*specs.LinuxResources, error) {
	out := &specs.LinuxResources{}
	if cpu := cpus(r); cpu != (specs.LinuxCPU{}) {
		out.CPU = &cpu
	}
	if n := r.GetMemoryLimitInBytes(); n != 0 {
		out.Memory = &specs.LinuxMemory{Limit: &n}
	}
	if n := r.GetMemorySwapLimitInBytes(); n != 0 {
		memory(out).Swap = &n
	}
	for _, h := range r.GetHugepageLimits() {
		out.HugepageLimits = append(out.HugepageLimits, specs.LinuxHugepageLimit{Pagesize: h.PageSize, Limit: h.Limit})
	}
	for k, v := range r.GetUnified() {
		if err := setUnified(out, k, v, v2); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func cpus(r *cri.LinuxContainerResources) specs.LinuxCPU {
	cpu := specs.LinuxCPU{Cpus: r.GetCpusetCpus(), Mems: r.GetCpusetMems()}
	if n := r.GetCpuShares(); n > 0 {
		shares := uint64(n)
		cpu.Shares = &shares
	}
	if n := r.GetCpuQuota(); n != 0 {
		cpu.Quota = &n
	}
	if n := r.GetCpuPeriod(); n > 0 {
		period := uint64(n)
		cpu.Period = &period
	}
	return cpu
}

func memory(out *specs.LinuxResources) *specs.LinuxMemory {
	if out.Memory == nil {
		out.Memory = &specs.LinuxMemory{}
	}
	return out.Memory
}

// setUnified sets one entry of the unified map: a file of cgroup v2 and what
// is to be written there.
func setUnified(out *specs.LinuxResources, key, value string, v2 bool) error {
	if key == "pids.max" {
		n, err := limit(value)
		if err != nil {
			return fmt.Errorf("unified resource %s: %w", key, err)
		}
		out.Pids = &specs.LinuxPids{Limit: &n}
		return nil
	}
	if v2 {
		if out.Unified == nil {
			out.Unified = map[string]string{}
		}
		out.Unified[key] = value
		return nil
	}
	n, err := limit(value)
	switch key {
	case "memory.max":
		memory(out).Limit = &n
	case "memory.low": // the kernel takes from others first
		memory(out).Reservation = &n
	case "memory.oom.group": // v1 has no such thing, and kills one process
		err = nil
	case "io.weight", "io.bfq.weight":
		weight := uint16(min(max(n, 10), 1000))
		out.BlockIO = &specs.LinuxBlockIO{Weight: &weight}
	default:
		err = fmt.Errorf("this machine has cgroup v1, which has nothing like it")
	}
	if err != nil {
		return fmt.Errorf("unified resource %s: %w", key, err)
	}
	return nil
}

// limit is a number, or "max", which is none.
func limit(text string) (int64, error) {
	if text == "max" {
		return -1, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is neither a number nor max", text)
	}
	return n, nil
}

// resources are the cgroup numbers of a new container. No device may be used
// but those that every container has, which klab-rt adds, and those that the
// container names.
func resources(r *cri.LinuxContainerResources, v2, privileged bool) (*specs.LinuxResources, error) {
	out, err := Resources(r, v2)
	if err != nil {
		return nil, err
	}
	out.Devices = []specs.LinuxDeviceCgroup{{Allow: privileged, Access: "rwm"}}
	if out.Pids == nil {
		pids := int64(DefaultPids)
		out.Pids = &specs.LinuxPids{Limit: &pids}
	}
	return out, nil
}

func pauseResources() *specs.LinuxResources {
	few := int64(16)
	return &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Access: "rwm"}}, Pids: &specs.LinuxPids{Limit: &few}}
}
