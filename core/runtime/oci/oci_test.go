package oci

import (
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/require"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func input(config *cri.ContainerConfig) Input {
	return Input{
		ID:     "id",
		Pod:    Pod{Config: &cri.PodSandboxConfig{Metadata: &cri.PodSandboxMetadata{Name: "web"}}, PID: 7, Cgroup: "/klab/n/uid", Shm: "/shm"},
		Config: config, Rootfs: "/fs",
		Image: v1.Config{Entrypoint: []string{"entry"}, Cmd: []string{"cmd"}, Env: []string{"A=image", "PATH=/bin"}, WorkingDir: "/work"},
	}
}

func TestCommand(t *testing.T) {
	for _, c := range []struct{ command, args, want []string }{
		{nil, nil, []string{"entry", "cmd"}},
		{nil, []string{"a"}, []string{"entry", "a"}},
		{[]string{"c"}, nil, []string{"c"}},
		{[]string{"c"}, []string{"a"}, []string{"c", "a"}},
	} {
		spec, err := Container(input(&cri.ContainerConfig{Command: c.command, Args: c.args}))
		require.NoError(t, err)
		require.Equal(t, c.want, spec.Process.Args)
	}
	in := input(&cri.ContainerConfig{})
	in.Image = v1.Config{}
	_, err := Container(in)
	require.ErrorIs(t, err, ErrNoCommand)
}

func TestEnvironment(t *testing.T) {
	spec, err := Container(input(&cri.ContainerConfig{Envs: []*cri.KeyValue{{Key: "A", Value: []byte("pod")}}}))
	require.NoError(t, err)
	require.Equal(t, []string{"PATH=/bin", "HOSTNAME=web", "A=pod"}, spec.Process.Env)
	require.Equal(t, "/work", spec.Process.Cwd)
	require.Equal(t, "/klab/n/uid/id", spec.Linux.CgroupsPath)
}

func TestNamespaces(t *testing.T) {
	names := func(spec *specs.Spec) (all []string) {
		for _, n := range spec.Linux.Namespaces {
			all = append(all, string(n.Type)+strings.TrimPrefix(n.Path, "/proc"))
		}
		slices.Sort(all)
		return all
	}
	for _, c := range []struct {
		options *cri.NamespaceOption
		want    []string
	}{
		{nil, []string{"ipc/7/ns/ipc", "mount", "network/7/ns/net", "pid", "uts/7/ns/uts"}},
		{&cri.NamespaceOption{Pid: cri.NamespaceMode_POD}, []string{"ipc/7/ns/ipc", "mount", "network/7/ns/net", "pid/7/ns/pid", "uts/7/ns/uts"}},
		{&cri.NamespaceOption{Network: cri.NamespaceMode_NODE, Pid: cri.NamespaceMode_NODE, Ipc: cri.NamespaceMode_NODE}, []string{"mount"}},
	} {
		sec := &cri.LinuxContainerSecurityContext{NamespaceOptions: c.options}
		spec, err := Container(input(&cri.ContainerConfig{Linux: &cri.LinuxContainerConfig{SecurityContext: sec}}))
		require.NoError(t, err)
		require.Equal(t, c.want, names(spec))
	}
}

func TestCapabilities(t *testing.T) {
	caps := func(add, drop []string) []string {
		return capabilities(&cri.LinuxContainerSecurityContext{
			Capabilities: &cri.Capability{AddCapabilities: add, DropCapabilities: drop},
		}).Bounding
	}
	require.Len(t, caps(nil, nil), 14)
	require.Equal(t, []string{"CAP_NET_ADMIN"}, caps([]string{"NET_ADMIN"}, []string{"ALL"}))
	require.NotContains(t, caps(nil, []string{"NET_RAW"}), "CAP_NET_RAW")
	require.Len(t, caps([]string{"ALL"}, nil), 41)
	require.NotContains(t, caps([]string{"ALL"}, []string{"SYS_ADMIN"}), "CAP_SYS_ADMIN")
}

func TestSeccompFollowsCapabilities(t *testing.T) {
	allowed := func(caps ...string) (all []string) {
		for _, call := range seccomp(caps).Syscalls {
			if call.Action == specs.ActAllow && len(call.Args) == 0 {
				all = append(all, call.Names...)
			}
		}
		return all
	}
	require.Equal(t, specs.ActErrno, seccomp(nil).DefaultAction)
	require.Subset(t, allowed(), []string{"read", "execve", "ptrace", "seccomp", "openat2"})
	for _, call := range []string{"mount", "clone", "clone3", "unshare", "chroot", "bpf", "reboot"} {
		require.NotContains(t, allowed(), call)
	}
	require.Subset(t, allowed("CAP_SYS_ADMIN"), []string{"mount", "clone", "clone3", "unshare"})
	require.Contains(t, allowed("CAP_SYS_CHROOT"), "chroot")
	for _, call := range []string{"keyctl", "add_key", "io_uring_setup", "userfaultfd", "socket"} {
		require.NotContains(t, allowed("CAP_SYS_ADMIN"), call)
	}
}

func TestMountsOrder(t *testing.T) {
	dir := t.TempDir()
	spec, err := Container(input(&cri.ContainerConfig{Mounts: []*cri.Mount{
		{ContainerPath: "/a/b", HostPath: dir + "/made", Readonly: true},
		{ContainerPath: "/a", HostPath: dir},
		{ContainerPath: "/dev/shm", HostPath: dir},
	}}))
	require.NoError(t, err)
	require.DirExists(t, dir+"/made")
	at := func(destination string) int {
		return slices.IndexFunc(spec.Mounts, func(m specs.Mount) bool { return m.Destination == destination })
	}
	require.Less(t, at("/a"), at("/a/b"))
	require.Less(t, at("/dev"), at("/dev/shm"))
	require.Equal(t, dir, spec.Mounts[at("/dev/shm")].Source, "the pod's own mount wins")
	require.Contains(t, spec.Mounts[at("/a/b")].Options, "ro")
}

func TestResolveUser(t *testing.T) {
	passwd, group := "ann:x:1001:1002::/:/x\n", "wheel:x:10:ann\n"
	for _, c := range []struct {
		sec   *cri.LinuxContainerSecurityContext
		image string
		want  specs.User
	}{
		{nil, "", specs.User{}},
		{nil, "ann", specs.User{UID: 1001, GID: 1002, AdditionalGids: []uint32{10}}},
		{nil, "5:6", specs.User{UID: 5, GID: 6}},
		{&cri.LinuxContainerSecurityContext{RunAsUser: &cri.Int64Value{Value: 0}}, "ann", specs.User{}},
		{&cri.LinuxContainerSecurityContext{RunAsUser: &cri.Int64Value{Value: 7}, RunAsGroup: &cri.Int64Value{Value: 8}, SupplementalGroups: []int64{9}}, "", specs.User{UID: 7, GID: 8, AdditionalGids: []uint32{9}}},
	} {
		got, err := ResolveUser(c.sec, c.image, strings.NewReader(passwd), strings.NewReader(group))
		require.NoError(t, err)
		require.Equal(t, c.want, got)
	}
	_, err := ResolveUser(nil, "bob", strings.NewReader(passwd), nil)
	require.ErrorContains(t, err, `user "bob"`)
}

func TestPauseOfHostPod(t *testing.T) {
	config := &cri.PodSandboxConfig{Hostname: "x", Linux: &cri.LinuxPodSandboxConfig{SecurityContext: &cri.LinuxSandboxSecurityContext{
		NamespaceOptions: &cri.NamespaceOption{Network: cri.NamespaceMode_NODE, Ipc: cri.NamespaceMode_NODE, Pid: cri.NamespaceMode_NODE},
	}}}
	spec, err := Pause("id", "/p", Pod{Config: config, Cgroup: "/c"})
	require.NoError(t, err)
	require.Empty(t, spec.Hostname)
	require.Empty(t, spec.Linux.Sysctl)
	require.Len(t, spec.Linux.Namespaces, 1)
}
