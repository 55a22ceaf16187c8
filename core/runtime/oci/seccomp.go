package oci

import (
	_ "embed"
	"maps"
	"runtime"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// allowedCalls are the system calls of syscalls(2) that every container has,
// of all architectures. What is new in the kernel is refused until it is there.
//
//go:embed seccomp_calls.txt
var allowedCalls string

// capabilityCalls are those that come with a capability: they change the whole
// machine or look into other processes. Without it they would only lay bare
// more of the kernel, so the filter refuses them before the kernel does.
var capabilityCalls = map[string][]string{
	"CAP_BPF":             {"bpf"},
	"CAP_DAC_READ_SEARCH": {"open_by_handle_at"},
	"CAP_PERFMON":         {"perf_event_open"},
	"CAP_SYSLOG":          {"syslog"},
	"CAP_SYS_ADMIN": {
		"bpf", "clone", "clone3", "fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick", "lookup_dcookie", "mount",
		"mount_setattr", "move_mount", "open_tree", "perf_event_open", "pivot_root", "quotactl", "quotactl_fd",
		"setdomainname", "sethostname", "setns", "swapoff", "swapon", "syslog", "umount", "umount2", "unshare",
	},
	"CAP_SYS_BOOT":       {"kexec_file_load", "kexec_load", "reboot"},
	"CAP_SYS_CHROOT":     {"chroot"},
	"CAP_SYS_MODULE":     {"delete_module", "finit_module", "init_module"},
	"CAP_SYS_NICE":       {"get_mempolicy", "mbind", "migrate_pages", "move_pages", "set_mempolicy", "set_mempolicy_home_node"},
	"CAP_SYS_PACCT":      {"acct"},
	"CAP_SYS_PTRACE":     {"kcmp", "pidfd_getfd", "process_madvise", "process_vm_readv", "process_vm_writev"},
	"CAP_SYS_RAWIO":      {"ioperm", "iopl"},
	"CAP_SYS_TIME":       {"clock_adjtime", "clock_adjtime64", "clock_settime", "clock_settime64", "settimeofday", "stime"},
	"CAP_SYS_TTY_CONFIG": {"vhangup"},
}

// personalities that personality(2) may be asked for: Linux, with 32 bits, or
// with the release number of an older kernel, and which one it is now.
var personalities = []uint64{0, 0x8, 0x20000, 0x20008, 0xffffffff}

// seccomp is the default profile for a container with these capabilities:
// what it does not name fails with EPERM.
func seccomp(caps []string) *specs.LinuxSeccomp {
	eperm, enosys := uint(unix.EPERM), uint(unix.ENOSYS)
	profile := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, DefaultErrnoRet: &eperm, Architectures: architectures()}
	rule := func(action specs.LinuxSeccompAction, errno *uint, arg *specs.LinuxSeccompArg, names ...string) {
		call := specs.LinuxSyscall{Names: names, Action: action, ErrnoRet: errno}
		if arg != nil {
			call.Args = []specs.LinuxSeccompArg{*arg}
		}
		profile.Syscalls = append(profile.Syscalls, call)
	}
	names := strings.Fields(allowedCalls)
	for _, cap := range slices.Sorted(maps.Keys(capabilityCalls)) {
		if slices.Contains(caps, cap) {
			names = append(names, capabilityCalls[cap]...)
		}
	}
	slices.Sort(names)
	rule(specs.ActAllow, nil, nil, slices.Compact(names)...)
	for _, p := range personalities {
		rule(specs.ActAllow, nil, &specs.LinuxSeccompArg{Value: p, Op: specs.OpEqualTo}, "personality")
	}
	// Sockets to the hypervisor are not in any namespace.
	rule(specs.ActAllow, nil, &specs.LinuxSeccompArg{Value: unix.AF_VSOCK, Op: specs.OpNotEqual}, "socket")
	if !slices.Contains(caps, "CAP_SYS_ADMIN") {
		// No new namespaces. clone3's flags lie in memory where a filter does
		// not see them: without it programs fall back to clone.
		const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER |
			unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP
		rule(specs.ActAllow, nil, &specs.LinuxSeccompArg{Value: namespaces, Op: specs.OpMaskedEqual}, "clone")
		rule(specs.ActErrno, &enosys, nil, "clone3")
	}
	return profile
}

func architectures() []specs.Arch {
	switch runtime.GOARCH {
	case "amd64":
		return []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32}
	case "arm64":
		return []specs.Arch{specs.ArchAARCH64, specs.ArchARM}
	}
	return nil
}
