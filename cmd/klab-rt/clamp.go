//go:build linux && cgo

package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/capability"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// rlimitNumbers has the limits that a spec may name, of getrlimit(2).
var rlimitNumbers = map[string]int{
	"RLIMIT_AS": unix.RLIMIT_AS, "RLIMIT_CORE": unix.RLIMIT_CORE, "RLIMIT_CPU": unix.RLIMIT_CPU,
	"RLIMIT_DATA": unix.RLIMIT_DATA, "RLIMIT_FSIZE": unix.RLIMIT_FSIZE, "RLIMIT_LOCKS": unix.RLIMIT_LOCKS,
	"RLIMIT_MEMLOCK": unix.RLIMIT_MEMLOCK, "RLIMIT_MSGQUEUE": unix.RLIMIT_MSGQUEUE, "RLIMIT_NICE": unix.RLIMIT_NICE,
	"RLIMIT_NOFILE": unix.RLIMIT_NOFILE, "RLIMIT_NPROC": unix.RLIMIT_NPROC, "RLIMIT_RSS": unix.RLIMIT_RSS,
	"RLIMIT_RTPRIO": unix.RLIMIT_RTPRIO, "RLIMIT_RTTIME": unix.RLIMIT_RTTIME,
	"RLIMIT_SIGPENDING": unix.RLIMIT_SIGPENDING, "RLIMIT_STACK": unix.RLIMIT_STACK,
}

// clamp lowers what spec wants to what this process may give, and says where
// it did.
func clamp(spec *specs.Spec) []string {
	own, err := capability.NewPid2(0)
	if err != nil || own.Load() != nil {
		return nil
	}
	var notes []string
	if label := spec.Process.SelinuxLabel; label != "" {
		spec.Process.SelinuxLabel = ""
		notes = append(notes, "the SELinux label "+label+" is not applied: this runtime does not do SELinux")
	}
	if !own.Get(capability.EFFECTIVE, capability.CAP_SYS_RESOURCE) {
		notes = append(notes, clampOOM(spec.Process)...)
		notes = append(notes, clampRlimits(spec.Process)...)
	}
	return append(notes, clampCapabilities(spec.Process.Capabilities, own)...)
}

func clampOOM(p *specs.Process) []string {
	data, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil || p.OOMScoreAdj == nil {
		return nil
	}
	own, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || *p.OOMScoreAdj >= own {
		return nil
	}
	note := fmt.Sprintf("oom_score_adj is %d instead of %d: CAP_SYS_RESOURCE is missing", own, *p.OOMScoreAdj)
	p.OOMScoreAdj = &own
	return []string{note}
}

func clampRlimits(p *specs.Process) (notes []string) {
	for i := range p.Rlimits {
		want := &p.Rlimits[i]
		number, known := rlimitNumbers[want.Type]
		var have unix.Rlimit
		if !known || unix.Getrlimit(number, &have) != nil || want.Hard <= have.Max {
			continue
		}
		notes = append(notes, fmt.Sprintf("%s is at most %d instead of %d: CAP_SYS_RESOURCE is missing", want.Type, have.Max, want.Hard))
		want.Hard, want.Soft = have.Max, min(want.Soft, have.Max)
	}
	return notes
}

func clampCapabilities(caps *specs.LinuxCapabilities, own capability.Capabilities) []string {
	if caps == nil {
		return nil
	}
	var missing []string
	allowed := func(name string) bool {
		for _, c := range capability.ListKnown() {
			if "CAP_"+strings.ToUpper(c.String()) == name {
				return own.Get(capability.BOUNDING, c) && own.Get(capability.PERMITTED, c)
			}
		}
		return false
	}
	for _, set := range []*[]string{&caps.Bounding, &caps.Effective, &caps.Permitted, &caps.Inheritable, &caps.Ambient} {
		*set = slices.DeleteFunc(slices.Clone(*set), func(name string) bool {
			if allowed(name) {
				return false
			}
			if !slices.Contains(missing, name) {
				missing = append(missing, name)
			}
			return true
		})
	}
	if missing == nil {
		return nil
	}
	return []string{"this machine does not allow " + strings.Join(missing, ", ")}
}
