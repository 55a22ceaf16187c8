package kubelet

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// containerInput is what a container's configuration is made from.
type containerInput struct {
	pod       *corev1.Pod
	container *corev1.Container
	attempt   int
	image     string // as the runtime knows it
	ips       []string
	target    string // for ephemeral containers: whose processes it sees
	users     *cri.UserNamespace
}

// containerConfig is what the runtime is told about one container.
func (k *Kubelet) containerConfig(ctx context.Context, in *containerInput) (*cri.ContainerConfig, error) {
	pod, c := in.pod, in.container
	env, err := k.environment(ctx, in)
	if err != nil {
		return nil, err
	}
	command, args := expandCommand(c, env)
	mounts, err := k.mounts(ctx, in, env)
	if err != nil {
		return nil, err
	}
	if err := k.verifyNonRoot(ctx, in); err != nil {
		return nil, err
	}
	security := containerSecurity(pod, c)
	security.NamespaceOptions.UsernsOptions = in.users
	for _, m := range mounts { // a volume's root is the pod's root
		m.UidMappings, m.GidMappings = in.users.GetUids(), in.users.GetGids()
	}
	security.Seccomp = k.seccompProfile(pod, c)
	if in.target != "" {
		security.NamespaceOptions.Pid, security.NamespaceOptions.TargetId = cri.NamespaceMode_TARGET, in.target
	}
	if err := os.MkdirAll(filepath.Join(k.logDir(pod), c.Name), 0o755); err != nil {
		return nil, fmt.Errorf("log directory: %w", err)
	}
	config := &cri.ContainerConfig{
		Metadata:    &cri.ContainerMetadata{Name: c.Name, Attempt: uint32(in.attempt)},
		Image:       &cri.ImageSpec{Image: in.image, UserSpecifiedImage: c.Image},
		Command:     command,
		Args:        args,
		WorkingDir:  c.WorkingDir,
		Mounts:      mounts,
		Labels:      containerLabels(pod, c),
		Annotations: containerAnnotations(pod, c, in.attempt),
		LogPath:     fmt.Sprintf("%s/%d.log", c.Name, in.attempt),
		Stdin:       c.Stdin,
		StdinOnce:   c.StdinOnce,
		Tty:         c.TTY,
		Linux: &cri.LinuxContainerConfig{
			Resources:       containerResources(pod, c, k.node.memory()),
			SecurityContext: security,
		},
	}
	k.setCPUs(pod, c.Name, config.Linux.Resources)
	if c.Lifecycle != nil && c.Lifecycle.StopSignal != nil {
		config.StopSignal = cri.Signal(cri.Signal_value[string(*c.Lifecycle.StopSignal)])
	}
	if err := k.addDevices(ctx, pod, c, config); err != nil {
		return nil, err
	}
	for _, v := range env {
		config.Envs = append(config.Envs, &cri.KeyValue{Key: v.Name, Value: []byte(v.Value)})
	}
	return config, nil
}

// containerSecurity joins the pod's and the container's security contexts; the
// container's wins.
func containerSecurity(pod *corev1.Pod, c *corev1.Container) *cri.LinuxContainerSecurityContext {
	s := &cri.LinuxContainerSecurityContext{NamespaceOptions: namespaces(pod), Capabilities: &cri.Capability{}}
	var user, group *int64
	if p := pod.Spec.SecurityContext; p != nil {
		user, group = p.RunAsUser, p.RunAsGroup
		s.SupplementalGroups = groups(p)
	}
	if sc := c.SecurityContext; sc != nil {
		user, group = or(sc.RunAsUser, user), or(sc.RunAsGroup, group)
		s.Privileged = sc.Privileged != nil && *sc.Privileged
		s.ReadonlyRootfs = sc.ReadOnlyRootFilesystem != nil && *sc.ReadOnlyRootFilesystem
		s.NoNewPrivs = sc.AllowPrivilegeEscalation != nil && !*sc.AllowPrivilegeEscalation
		if sc.Capabilities != nil {
			s.Capabilities = &cri.Capability{AddCapabilities: words(sc.Capabilities.Add), DropCapabilities: words(sc.Capabilities.Drop)}
		}
	}
	if user != nil {
		s.RunAsUser = &cri.Int64Value{Value: *user}
	}
	if group != nil {
		s.RunAsGroup = &cri.Int64Value{Value: *group}
	}
	if !s.Privileged {
		s.MaskedPaths, s.ReadonlyPaths = maskedPaths(), readonlyPaths()
	}
	return s
}

func or[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}

func words(list []corev1.Capability) []string {
	var out []string
	for _, c := range list {
		out = append(out, strings.ToUpper(string(c)))
	}
	return out
}

// maskedPaths and readonlyPaths are what procMount Default hides in /proc and /sys.
func maskedPaths() []string {
	return []string{"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"}
}

func readonlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}
