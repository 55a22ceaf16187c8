//go:build linux && cgo

package main

import (
	"errors"
	"maps"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/klab-project/klab/core/runtime/shim"
)

// setResources changes the limits of a living container; the kernel has all
// of them or, after an error, those from before.
func (c *container) setResources(r *specs.LinuxResources) error {
	c.verbs.Lock()
	defer c.verbs.Unlock()
	lc := c.loaded()
	if lc == nil {
		return &shim.Error{Code: shim.CodeState, Message: "the container has ended: it is " + string(c.snapshot().Status)}
	}
	if r == nil {
		return errors.New("update: no resources given")
	}
	config := lc.Config()
	group, limits := *config.Cgroups, *config.Cgroups.Resources
	overlay(&limits, r)
	limits.SkipDevices = true // they do not change, and setting them has a moment without
	group.Resources = &limits
	config.Cgroups = &group
	c.limit.Lock()
	err := lc.Set(config)
	limits.SkipDevices = false // libcontainer has kept it, and would start nothing more
	c.limit.Unlock()
	if errors.Is(err, libcontainer.ErrNotRunning) {
		return &shim.Error{Code: shim.CodeState, Message: "the container has ended"}
	}
	return err
}

// overlay sets in limits what r says.
func overlay(limits *cgroups.Resources, r *specs.LinuxResources) {
	if cpu := r.CPU; cpu != nil {
		set(&limits.CpuQuota, cpu.Quota)
		set(&limits.CpuPeriod, cpu.Period)
		if cpu.Shares != nil {
			limits.CpuShares, limits.CpuWeight = *cpu.Shares, cgroups.ConvertCPUSharesToCgroupV2Value(*cpu.Shares)
		}
		if cpu.Cpus != "" {
			limits.CpusetCpus = cpu.Cpus
		}
		if cpu.Mems != "" {
			limits.CpusetMems = cpu.Mems
		}
	}
	if memory := r.Memory; memory != nil {
		set(&limits.Memory, memory.Limit)
		set(&limits.MemoryReservation, memory.Reservation)
		set(&limits.MemorySwap, memory.Swap)
	}
	if r.Pids != nil {
		limits.PidsLimit = r.Pids.Limit
	}
	if r.BlockIO != nil {
		set(&limits.BlkioWeight, r.BlockIO.Weight)
	}
	if len(r.HugepageLimits) > 0 {
		limits.HugetlbLimit = nil
		for _, h := range r.HugepageLimits {
			limits.HugetlbLimit = append(limits.HugetlbLimit, &cgroups.HugepageLimit{Pagesize: h.Pagesize, Limit: h.Limit})
		}
	}
	if len(r.Unified) > 0 {
		all := maps.Clone(limits.Unified)
		if all == nil {
			all = map[string]string{}
		}
		maps.Copy(all, r.Unified)
		limits.Unified = all
	}
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}
