package oci

import (
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// DefaultPids bounds the processes of a container that sets no "pids.max" in
// its unified resources.
const DefaultPids = 4096

// resources are the cgroup numbers of a container. No device may be used but
// those that every container has; klab-rt adds them.
func resources(r *cri.LinuxContainerResources, privileged bool) *specs.LinuxResources {
	pids := int64(DefaultPids)
	if n, err := strconv.ParseInt(r.GetUnified()["pids.max"], 10, 64); err == nil {
		pids = n
	}
	out := &specs.LinuxResources{
		Devices: []specs.LinuxDeviceCgroup{{Allow: privileged, Access: "rwm"}},
		Pids:    &specs.LinuxPids{Limit: &pids},
		CPU:     &specs.LinuxCPU{Cpus: r.GetCpusetCpus(), Mems: r.GetCpusetMems()},
	}
	if n := r.GetCpuShares(); n > 0 {
		shares := uint64(n)
		out.CPU.Shares = &shares
	}
	if n := r.GetCpuQuota(); n != 0 {
		out.CPU.Quota = &n
	}
	if n := r.GetCpuPeriod(); n > 0 {
		period := uint64(n)
		out.CPU.Period = &period
	}
	if n := r.GetMemoryLimitInBytes(); n > 0 {
		out.Memory = &specs.LinuxMemory{Limit: &n}
		if swap := r.GetMemorySwapLimitInBytes(); swap > 0 {
			out.Memory.Swap = &swap
		}
	}
	for _, h := range r.GetHugepageLimits() {
		out.HugepageLimits = append(out.HugepageLimits, specs.LinuxHugepageLimit{Pagesize: h.PageSize, Limit: h.Limit})
	}
	for k, v := range r.GetUnified() {
		if k == "pids.max" {
			continue
		}
		if out.Unified == nil {
			out.Unified = map[string]string{}
		}
		out.Unified[k] = v
	}
	return out
}
