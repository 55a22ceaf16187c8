package oci

import (
	"fmt"
	"path"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// nobody is who a pause process runs as, where the pod's user namespace has it.
const nobody = 65535

// Pause is the specification of a sandbox: a process that only holds the
// namespaces. rootfs has the directories dev and proc and the program /pause.
func Pause(id, rootfs string, pod Pod) (*specs.Spec, error) {
	options := pod.Config.GetLinux().GetSecurityContext().GetNamespaceOptions()
	users, err := UserNamespace(options)
	if err != nil {
		return nil, err
	}
	adj, as := -998, specs.User{UID: nobody, GID: nobody} // as kubelets protect it
	if _, ok := host(users.UIDs, nobody); !ok {
		as = specs.User{}
	}
	spec := &specs.Spec{
		Version:  specs.Version,
		Root:     &specs.Root{Path: rootfs, Readonly: true},
		Hostname: Hostname(pod.Config),
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev", Type: "bind", Source: rootfs + "/dev", Options: []string{"bind", "ro"}},
		},
		Process: &specs.Process{
			User: as, Args: []string{"/pause"}, Env: []string{"PATH=/"}, Cwd: "/",
			NoNewPrivileges: true, OOMScoreAdj: &adj, Capabilities: &specs.LinuxCapabilities{},
		},
		Linux: &specs.Linux{
			CgroupsPath: path.Join(pod.Cgroup, id),
			Namespaces:  pauseNamespaces(options, users),
			UIDMappings: users.UIDs,
			GIDMappings: users.GIDs,
			Resources:   pauseResources(), // few shares would only make its start slow
			Sysctl:      sysctls(pod.Config, users),
		},
	}
	if options.GetNetwork() == cri.NamespaceMode_NODE {
		spec.Hostname = "" // such a pod has the node's name
	}
	return spec, nil
}

func pauseNamespaces(options *cri.NamespaceOption, users UserNS) []specs.LinuxNamespace {
	kinds := []specs.LinuxNamespaceType{specs.MountNamespace}
	if options.GetPid() != cri.NamespaceMode_NODE {
		kinds = append(kinds, specs.PIDNamespace)
	}
	if options.GetIpc() != cri.NamespaceMode_NODE {
		kinds = append(kinds, specs.IPCNamespace)
	}
	if options.GetNetwork() != cri.NamespaceMode_NODE {
		kinds = append(kinds, specs.NetworkNamespace, specs.UTSNamespace)
	}
	if users.On() {
		kinds = append(kinds, specs.UserNamespace)
	}
	var all []specs.LinuxNamespace
	for _, kind := range kinds {
		all = append(all, specs.LinuxNamespace{Type: kind})
	}
	return all
}

// sysctls are the pod's own, and what every pod with a network of its own has:
// any user may listen on any port and ping.
func sysctls(config *cri.PodSandboxConfig, users UserNS) map[string]string {
	all := map[string]string{}
	if config.GetLinux().GetSecurityContext().GetNamespaceOptions().GetNetwork() != cri.NamespaceMode_NODE {
		all["net.ipv4.ip_unprivileged_port_start"] = "0"
		all["net.ipv4.ping_group_range"] = "0 2147483647"
		if users.On() { // groups that the namespace does not have are refused
			all["net.ipv4.ping_group_range"] = fmt.Sprintf("0 %d", users.GIDs[0].Size-1)
		}
	}
	for k, v := range config.GetLinux().GetSysctls() {
		all[strings.ReplaceAll(k, "/", ".")] = v
	}
	return all
}
