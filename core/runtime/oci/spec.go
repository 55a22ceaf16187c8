// Package oci says how a pod's containers are to run, in the words of the OCI
// runtime specification. All of it is pure: CRI's configuration in, a Spec out.
// Start at [Container] and [Pause].
package oci

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ErrNoCommand means that neither the pod nor the image names a program.
var ErrNoCommand = errors.New("no command specified")

// Pod is what the containers of a pod share.
type Pod struct {
	Config *cri.PodSandboxConfig
	PID    int    // of the pause process, whose namespaces are joined
	Cgroup string // of the pod; containers are below it
	Shm    string // mounted at /dev/shm
	// Files are given to every container that does not mount its own:
	// destination, then path on the node.
	Files map[string]string
}

// Input is what makes a container.
type Input struct {
	ID     string
	Pod    Pod
	Config *cri.ContainerConfig
	Image  v1.Config
	Rootfs string
	User   specs.User // see [ResolveUser]
	V2     bool       // the node has the unified cgroup hierarchy
	// Target is the process whose pid namespace is joined, of a container
	// that looks at another one.
	Target int
}

// DefaultPath is the PATH of images that have none.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Container is the specification of one container of a pod.
func Container(in Input) (*specs.Spec, error) {
	args, err := command(in.Config, in.Image)
	if err != nil {
		return nil, err
	}
	sec := in.Config.GetLinux().GetSecurityContext()
	mounts, err := mounts(in)
	if err != nil {
		return nil, err
	}
	limits, err := resources(in.Config.GetLinux().GetResources(), in.V2, sec.GetPrivileged())
	if err != nil {
		return nil, err
	}
	namespaces, err := containerNamespaces(in)
	if err != nil {
		return nil, err
	}
	spec := &specs.Spec{
		Version: specs.Version,
		Root:    &specs.Root{Path: in.Rootfs, Readonly: sec.GetReadonlyRootfs()},
		Mounts:  mounts,
		Process: &specs.Process{
			Terminal:        in.Config.Tty,
			User:            in.User,
			Args:            args,
			Env:             environment(in),
			Cwd:             first(in.Config.WorkingDir, in.Image.WorkingDir, "/"),
			Capabilities:    capabilities(sec),
			NoNewPrivileges: sec.GetNoNewPrivs(),
			SelinuxLabel:    selinuxLabel(sec.GetSelinuxOptions()),
		},
		Linux: &specs.Linux{
			CgroupsPath:   path.Join(in.Pod.Cgroup, in.ID),
			Namespaces:    namespaces,
			Resources:     limits,
			MaskedPaths:   sec.GetMaskedPaths(),
			ReadonlyPaths: sec.GetReadonlyPaths(),
		},
	}
	if sec.GetPrivileged() {
		spec.Linux.MaskedPaths, spec.Linux.ReadonlyPaths = nil, nil
	}
	if adj := in.Config.GetLinux().GetResources().GetOomScoreAdj(); adj != 0 {
		value := int(adj)
		spec.Process.OOMScoreAdj = &value
	}
	for _, part := range []error{
		withSeccomp(spec, sec), withAppArmor(spec, sec), withDevices(spec, in.Config), withPropagation(spec, in.Config.Mounts),
	} {
		if part != nil {
			return nil, part
		}
	}
	return spec, nil
}

// Hostname is the name that a pod gives itself: at most 63 bytes.
func Hostname(config *cri.PodSandboxConfig) string {
	name := first(config.GetHostname(), config.GetMetadata().GetName())
	return strings.TrimRight(name[:min(len(name), 63)], "-.")
}

// containerNamespaces joins the pause process but for what is the node's.
func containerNamespaces(in Input) ([]specs.LinuxNamespace, error) {
	options := in.Config.GetLinux().GetSecurityContext().GetNamespaceOptions()
	if options == nil {
		options = in.Pod.Config.GetLinux().GetSecurityContext().GetNamespaceOptions()
	}
	if options == nil { // nothing said: an ordinary pod, not CRI's zero value
		options = &cri.NamespaceOption{Pid: cri.NamespaceMode_CONTAINER}
	}
	namespaces := []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	join := func(t specs.LinuxNamespaceType, name string) {
		namespaces = append(namespaces, specs.LinuxNamespace{Type: t, Path: fmt.Sprintf("/proc/%d/ns/%s", in.Pod.PID, name)})
	}
	if options.GetNetwork() != cri.NamespaceMode_NODE {
		join(specs.NetworkNamespace, "net")
		join(specs.UTSNamespace, "uts")
	}
	if options.GetIpc() != cri.NamespaceMode_NODE {
		join(specs.IPCNamespace, "ipc")
	}
	switch options.GetPid() {
	case cri.NamespaceMode_POD:
		join(specs.PIDNamespace, "pid")
	case cri.NamespaceMode_CONTAINER:
		namespaces = append(namespaces, specs.LinuxNamespace{Type: specs.PIDNamespace})
	case cri.NamespaceMode_TARGET:
		if in.Target == 0 {
			return nil, fmt.Errorf("target container %q does not run", options.GetTargetId())
		}
		namespaces = append(namespaces, specs.LinuxNamespace{Type: specs.PIDNamespace, Path: fmt.Sprintf("/proc/%d/ns/pid", in.Target)})
	}
	// All of a pod's containers have the pause process's user namespace.
	users, err := UserNamespace(in.Pod.Config.GetLinux().GetSecurityContext().GetNamespaceOptions())
	if err != nil {
		return nil, err
	}
	if users.On() {
		join(specs.UserNamespace, "user")
	}
	if in.V2 && !in.Config.GetLinux().GetSecurityContext().GetPrivileged() {
		namespaces = append(namespaces, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	return namespaces, nil
}

// command follows CRI: a container's command replaces the image's entry point
// and its cmd; args alone replace cmd.
func command(config *cri.ContainerConfig, image v1.Config) ([]string, error) {
	entry, args := config.Command, config.Args
	if len(entry) == 0 {
		entry = image.Entrypoint
		if len(args) == 0 {
			args = image.Cmd
		}
	}
	all := slices.Concat(entry, args)
	if len(all) == 0 {
		return nil, ErrNoCommand
	}
	return all, nil
}

// environment has each name once; what is given later wins.
func environment(in Input) []string {
	env := []string{"PATH=" + DefaultPath}
	if in.Config.Tty {
		env = append(env, "TERM=xterm")
	}
	if name := Hostname(in.Pod.Config); name != "" {
		env = append(env, "HOSTNAME="+name)
	}
	env = append(env, in.Image.Env...)
	for _, kv := range in.Config.Envs {
		env = append(env, kv.Key+"="+string(kv.Value))
	}
	at := map[string]int{}
	var unique []string
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		if i, ok := at[name]; ok {
			unique[i] = kv
			continue
		}
		at[name] = len(unique)
		unique = append(unique, kv)
	}
	return unique
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
