package kubelet

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klab-project/klab/core/kubelet/volume"
)

// mounts are a container's: its volumes, the hosts file that the kubelet
// manages, and the file for its termination message. The runtime makes the
// rest of /etc, by the sandbox's configuration.
func (k *Kubelet) mounts(ctx context.Context, in *containerInput, env []corev1.EnvVar) ([]*cri.Mount, error) {
	var list []*cri.Mount
	hosts := len(in.ips) > 0 || in.pod.Spec.HostNetwork
	for i := range in.container.VolumeMounts {
		m, err := k.mount(ctx, in, i, env)
		if err != nil {
			return nil, err
		}
		list = append(list, m)
		hosts = hosts && in.container.VolumeMounts[i].MountPath != hostsPath
	}
	if hosts {
		m, err := k.hostsMount(in)
		if err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	if file := in.container.TerminationMessagePath; file != "" {
		host := k.messageFile(in.pod, in.container.Name, in.attempt)
		if err := writeFile(host, "", 0o666); err != nil {
			return nil, fmt.Errorf("termination message: %w", err)
		}
		list = append(list, &cri.Mount{HostPath: host, ContainerPath: file})
	}
	return list, nil
}

// mount is the index-th of the container's volume mounts.
func (k *Kubelet) mount(ctx context.Context, in *containerInput, index int, env []corev1.EnvVar) (*cri.Mount, error) {
	m := &in.container.VolumeMounts[index]
	v := findVolume(in.pod, m.Name)
	if v == nil {
		return nil, fmt.Errorf("cannot find volume %q to mount into container %q", m.Name, in.container.Name)
	}
	host, err := volume.Path(k.podDir(in.pod.UID), v)
	if err != nil {
		return nil, err
	}
	sub := m.SubPath
	if m.SubPathExpr != "" {
		if sub, err = expandSubPath(m.SubPathExpr, env); err != nil {
			return nil, err
		}
	}
	if sub != "" {
		if host, err = k.subPath(ctx, in, v, host, sub, index); err != nil {
			return nil, err
		}
	}
	out := &cri.Mount{HostPath: host, ContainerPath: path.Join("/", m.MountPath), Readonly: m.ReadOnly || volume.FromAPI(v)}
	if m.MountPropagation != nil {
		switch *m.MountPropagation {
		case corev1.MountPropagationHostToContainer:
			out.Propagation = cri.MountPropagation_PROPAGATION_HOST_TO_CONTAINER
		case corev1.MountPropagationBidirectional:
			out.Propagation = cri.MountPropagation_PROPAGATION_BIDIRECTIONAL
		}
	}
	out.RecursiveReadOnly, err = recursiveReadOnly(m)
	return out, err
}

// recursiveReadOnly tells whether mounts inside of the volume are to be
// read-only as well. ("Volumes", "Recursive read-only mounts".) Any kernel
// that klab runs on can do it.
func recursiveReadOnly(m *corev1.VolumeMount) (bool, error) {
	if m.RecursiveReadOnly == nil || *m.RecursiveReadOnly == corev1.RecursiveReadOnlyDisabled {
		return false, nil
	}
	const failed = "failed to resolve recursive read-only mode: volume %q requested recursive read-only mode, but it is not "
	if !m.ReadOnly {
		return false, fmt.Errorf(failed+"read-only", m.Name)
	}
	if m.MountPropagation != nil && *m.MountPropagation != corev1.MountPropagationNone {
		return false, fmt.Errorf(failed+"compatible with propagation %q", m.Name, *m.MountPropagation)
	}
	return true, nil
}

func findVolume(pod *corev1.Pod, name string) *corev1.Volume {
	for i := range pod.Spec.Volumes {
		if pod.Spec.Volumes[i].Name == name {
			return &pod.Spec.Volumes[i]
		}
	}
	return nil
}

// subPath mounts a path inside of a volume beside it and says where. What went
// wrong is for the log only: it could tell of the node's files.
func (k *Kubelet) subPath(ctx context.Context, in *containerInput, v *corev1.Volume, host, sub string, index int) (string, error) {
	if err := volume.ValidSub(sub); err != nil {
		return "", err
	}
	name := in.container.Name
	if err := volume.MakeSub(host, sub); err != nil {
		k.log.Warn("make a subPath", "pod", podText(in.pod), "container", name, "volume", v.Name, "err", err)
		return "", fmt.Errorf("failed to create subPath directory for volumeMount %q of container %q", v.Name, name)
	}
	whole := &volume.Mount{Pod: k.action("", in.pod).Object, Volume: v.Name, Plugin: "kubernetes.io/" + volume.Plugin(v), Path: host}
	m := volume.Sub(whole, k.podDir(in.pod.UID), sub, name, index)
	if m.Done() {
		return m.Path, nil
	}
	if err := k.hands.Mount(ctx, m); err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		k.log.Warn("mount a subPath", "pod", podText(in.pod), "container", name, "volume", v.Name, "err", err)
		return "", fmt.Errorf("failed to prepare subPath for volumeMount %q of container %q", v.Name, name)
	}
	return m.Path, nil
}

const hostsPath = "/etc/hosts"

// hostsMount writes the pod's hosts file: in the node's network it is the
// node's, with the pod's aliases.
func (k *Kubelet) hostsMount(in *containerInput) (*cri.Mount, error) {
	text := k.formatHosts(in.pod, in.ips)
	if in.pod.Spec.HostNetwork {
		node, err := os.ReadFile(hostsPath)
		if err != nil {
			return nil, err
		}
		text = "# Kubernetes-managed hosts file (host network).\n" + string(node) + formatAliases(in.pod.Spec.HostAliases)
	}
	file := filepath.Join(k.podDir(in.pod.UID), "etc-hosts")
	if err := writeFile(file, text, 0o644); err != nil {
		return nil, fmt.Errorf("write hosts: %w", err)
	}
	return &cri.Mount{HostPath: file, ContainerPath: hostsPath}, nil
}

// writeFile writes a file in place: containers have it mounted by its inode.
func writeFile(path, text string, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}
