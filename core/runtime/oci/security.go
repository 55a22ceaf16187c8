package oci

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// defaultCapabilities are those of an ordinary container; the set is the one
// that container engines have agreed on.
var defaultCapabilities = []string{
	"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
	"CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
}

// allCapabilities are those of capabilities(7).
var allCapabilities = append([]string{
	"CAP_AUDIT_CONTROL", "CAP_AUDIT_READ", "CAP_BLOCK_SUSPEND", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
	"CAP_DAC_READ_SEARCH", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_LEASE", "CAP_LINUX_IMMUTABLE", "CAP_MAC_ADMIN",
	"CAP_MAC_OVERRIDE", "CAP_NET_ADMIN", "CAP_NET_BROADCAST", "CAP_PERFMON", "CAP_SYS_ADMIN", "CAP_SYS_BOOT",
	"CAP_SYS_MODULE", "CAP_SYS_NICE", "CAP_SYS_PACCT", "CAP_SYS_PTRACE", "CAP_SYS_RAWIO", "CAP_SYS_RESOURCE",
	"CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_SYSLOG", "CAP_WAKE_ALARM",
}, defaultCapabilities...)

func capabilities(sec *cri.LinuxContainerSecurityContext) *specs.LinuxCapabilities {
	if sec.GetPrivileged() {
		all := slices.Sorted(slices.Values(allCapabilities))
		return &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all}
	}
	have := slices.Clone(defaultCapabilities)
	change := sec.GetCapabilities()
	// ALL comes first, so that "drop ALL, add X" leaves X.
	if names(change.GetDropCapabilities(), "CAP_ALL") {
		have = nil
	}
	if names(change.GetAddCapabilities(), "CAP_ALL") {
		have = slices.Clone(allCapabilities)
	}
	for _, c := range change.GetAddCapabilities() {
		if c = capName(c); c != "CAP_ALL" && !slices.Contains(have, c) {
			have = append(have, c)
		}
	}
	for _, c := range change.GetDropCapabilities() {
		if !names(change.GetAddCapabilities(), capName(c)) {
			have = slices.DeleteFunc(have, func(h string) bool { return h == capName(c) })
		}
	}
	slices.Sort(have)
	caps := &specs.LinuxCapabilities{Bounding: have, Effective: have, Permitted: have}
	for _, c := range change.GetAddAmbientCapabilities() {
		caps.Ambient = append(caps.Ambient, capName(c))
		caps.Inheritable = caps.Ambient
	}
	return caps
}

func capName(c string) string {
	return "CAP_" + strings.TrimPrefix(strings.ToUpper(c), "CAP_")
}

func names(list []string, name string) bool {
	return slices.ContainsFunc(list, func(c string) bool { return capName(c) == name })
}

// withSeccomp sets the profile; none means that everything is allowed.
func withSeccomp(spec *specs.Spec, sec *cri.LinuxContainerSecurityContext) error {
	profile := sec.GetSeccomp()
	switch {
	case profile == nil || sec.GetPrivileged() || profile.GetProfileType() == cri.SecurityProfile_Unconfined:
	case profile.GetProfileType() == cri.SecurityProfile_Localhost:
		data, err := os.ReadFile(strings.TrimPrefix(profile.LocalhostRef, "localhost/"))
		if err != nil {
			return fmt.Errorf("seccomp profile: %w", err)
		}
		spec.Linux.Seccomp = &specs.LinuxSeccomp{}
		if err := json.Unmarshal(data, spec.Linux.Seccomp); err != nil {
			return fmt.Errorf("seccomp profile %s: %w", profile.LocalhostRef, err)
		}
	default:
		spec.Linux.Seccomp = seccomp(spec.Process.Capabilities.Bounding)
	}
	return nil
}

// withAppArmor names the profile that the kernel applies. The runtime brings
// none of its own, so the default is what the kernel has without one.
func withAppArmor(spec *specs.Spec, sec *cri.LinuxContainerSecurityContext) error {
	profile := sec.GetApparmor()
	if profile.GetProfileType() != cri.SecurityProfile_Localhost {
		return nil
	}
	name := strings.TrimPrefix(profile.LocalhostRef, "localhost/")
	enabled, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	if err != nil || !strings.HasPrefix(string(enabled), "Y") {
		return fmt.Errorf("cannot enforce AppArmor profile %q: AppArmor is not enabled on the host", name)
	}
	loaded, err := os.ReadFile("/sys/kernel/security/apparmor/profiles")
	if err == nil && !strings.Contains("\n"+string(loaded), "\n"+name+" (") {
		return fmt.Errorf("AppArmor profile %q is not loaded", name)
	}
	spec.Process.ApparmorProfile = name
	return nil
}

// selinuxLabel is what the pod asks for; klab-rt says that it is not applied.
func selinuxLabel(o *cri.SELinuxOption) string {
	if o == nil || o.User+o.Role+o.Type+o.Level == "" {
		return ""
	}
	return strings.Join([]string{o.User, o.Role, o.Type, o.Level}, ":")
}
