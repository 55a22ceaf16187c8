package oci

import (
	"runtime"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// guarded are system calls of syscalls(2) that containers do not get, by the
// capability that gives them back. They change the whole machine, look into
// other processes, or have a long record of kernel bugs. The empty capability
// gives nothing back.
//
// The profile lists what is refused rather than what is allowed: it is short
// enough to read, and programs find new harmless system calls working.
var guarded = map[string][]string{
	"CAP_SYS_ADMIN": {
		"bpf", "fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick", "lookup_dcookie", "mount", "mount_setattr",
		"move_mount", "open_tree", "perf_event_open", "pivot_root", "quotactl", "quotactl_fd", "setdomainname",
		"sethostname", "setns", "swapoff", "swapon", "umount", "umount2", "unshare",
	},
	"CAP_SYS_BOOT":        {"kexec_file_load", "kexec_load", "reboot"},
	"CAP_SYS_MODULE":      {"create_module", "delete_module", "finit_module", "get_kernel_syms", "init_module", "query_module"},
	"CAP_SYS_PACCT":       {"acct"},
	"CAP_SYS_PTRACE":      {"kcmp", "pidfd_getfd", "process_madvise", "process_vm_readv", "process_vm_writev"},
	"CAP_SYS_RAWIO":       {"ioperm", "iopl"},
	"CAP_SYS_TIME":        {"clock_adjtime", "clock_settime", "settimeofday", "stime"},
	"CAP_SYS_NICE":        {"get_mempolicy", "mbind", "migrate_pages", "move_pages", "set_mempolicy"},
	"CAP_DAC_READ_SEARCH": {"open_by_handle_at"},
	"CAP_SYSLOG":          {"syslog"},
	"": {
		"_sysctl", "add_key", "io_uring_enter", "io_uring_register", "io_uring_setup", "keyctl", "nfsservctl",
		"request_key", "sysfs", "uselib", "userfaultfd", "ustat", "vm86", "vm86old",
	},
}

// seccomp is the default profile for a container with these capabilities.
func seccomp(caps []string) *specs.LinuxSeccomp {
	eperm, enosys := uint(unix.EPERM), uint(unix.ENOSYS)
	profile := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: architectures()}
	refuse := func(errno *uint, args []specs.LinuxSeccompArg, names ...string) {
		profile.Syscalls = append(profile.Syscalls, specs.LinuxSyscall{
			Names: names, Action: specs.ActErrno, ErrnoRet: errno, Args: args,
		})
	}
	var names []string
	for cap, calls := range guarded {
		if cap == "" || !slices.Contains(caps, cap) {
			names = append(names, calls...)
		}
	}
	slices.Sort(names)
	refuse(&eperm, nil, names...)
	if !slices.Contains(caps, "CAP_SYS_ADMIN") {
		// No new namespaces. clone3's flags lie in memory where a filter does
		// not see them: without it programs fall back to clone.
		for _, flag := range []uint64{
			unix.CLONE_NEWNS, unix.CLONE_NEWUTS, unix.CLONE_NEWIPC, unix.CLONE_NEWUSER,
			unix.CLONE_NEWPID, unix.CLONE_NEWNET, unix.CLONE_NEWCGROUP,
		} {
			refuse(&eperm, []specs.LinuxSeccompArg{{Index: 0, Value: flag, ValueTwo: flag, Op: specs.OpMaskedEqual}}, "clone")
		}
		refuse(&enosys, nil, "clone3")
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
