package cm

import (
	"time"

	"github.com/opencontainers/cgroups"
)

// Usage is what the processes of a group, and of those below it, use.
type Usage struct {
	CPU        time.Duration // so far
	Memory     uint64        // bytes
	WorkingSet uint64        // of them, without files that nobody used lately
	RSS        uint64
	Pids       uint64
}

// Usage reads what all pods use together.
func (t *Tree) Usage() (Usage, error) {
	m, err := t.manager(t.c.Root, &cgroups.Resources{SkipDevices: true})
	if err != nil {
		return Usage{}, err
	}
	s, err := m.Stats(&cgroups.StatsOptions{Controllers: cgroups.CPU | cgroups.Memory | cgroups.Pids})
	if err != nil {
		return Usage{}, err
	}
	inactive, rss := "total_inactive_file", "total_rss"
	if t.unified {
		inactive, rss = "inactive_file", "anon"
	}
	memory := s.MemoryStats.Usage.Usage
	return Usage{
		CPU: time.Duration(s.CpuStats.CpuUsage.TotalUsage), Memory: memory, WorkingSet: memory - min(memory, s.MemoryStats.Stats[inactive]),
		RSS: s.MemoryStats.Stats[rss], Pids: s.PidsStats.Current,
	}, nil
}
