package kubelet

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// mounts are a container's: its volumes, the pod's /etc files that the kubelet
// manages, and the file for its termination message.
func (k *Kubelet) mounts(in *containerInput, env []corev1.EnvVar) ([]*cri.Mount, error) {
	var list []*cri.Mount
	taken := map[string]bool{}
	values := map[string]string{}
	for _, v := range env {
		values[v.Name] = v.Value
	}
	lookup := func(name string) (string, bool) { v, ok := values[name]; return v, ok }
	for i := range in.container.VolumeMounts {
		m, err := k.mount(in.pod, &in.container.VolumeMounts[i], lookup)
		if err != nil {
			return nil, err
		}
		list, taken[m.ContainerPath] = append(list, m), true
	}
	files, err := k.etcFiles(in)
	if err != nil {
		return nil, err
	}
	for _, m := range files {
		if !taken[m.ContainerPath] {
			list = append(list, m)
		}
	}
	if path := in.container.TerminationMessagePath; path != "" {
		host := k.messageFile(in.pod, in.container.Name, in.attempt)
		if err := writeFile(host, "", 0o666); err != nil {
			return nil, fmt.Errorf("termination message: %w", err)
		}
		list = append(list, &cri.Mount{HostPath: host, ContainerPath: path})
	}
	return list, nil
}

func (k *Kubelet) mount(pod *corev1.Pod, m *corev1.VolumeMount, lookup func(string) (string, bool)) (*cri.Mount, error) {
	var volume *corev1.Volume
	for i := range pod.Spec.Volumes {
		if pod.Spec.Volumes[i].Name == m.Name {
			volume = &pod.Spec.Volumes[i]
		}
	}
	if volume == nil {
		return nil, fmt.Errorf("cannot find volume %q to mount into container", m.Name)
	}
	host, err := k.hostPath(pod, volume)
	if err != nil {
		return nil, err
	}
	sub := m.SubPath
	if m.SubPathExpr != "" {
		sub = expand(m.SubPathExpr, lookup)
	}
	if sub != "" {
		if host, err = subPath(host, sub); err != nil {
			return nil, fmt.Errorf("failed to prepare subPath for volumeMount %q: %w", m.Name, err)
		}
	}
	fromAPI := volume.ConfigMap != nil || volume.Secret != nil || volume.DownwardAPI != nil || volume.Projected != nil
	out := &cri.Mount{HostPath: host, ContainerPath: m.MountPath, Readonly: m.ReadOnly || fromAPI}
	if m.MountPropagation != nil {
		switch *m.MountPropagation {
		case corev1.MountPropagationHostToContainer:
			out.Propagation = cri.MountPropagation_PROPAGATION_HOST_TO_CONTAINER
		case corev1.MountPropagationBidirectional:
			out.Propagation = cri.MountPropagation_PROPAGATION_BIDIRECTIONAL
		}
	}
	return out, nil
}

// subPath is a path inside a volume, made as a directory if it is missing. It
// never leaves the volume, whatever links are in it.
func subPath(volume, sub string) (string, error) {
	root, err := os.OpenRoot(volume)
	if err != nil {
		return "", err
	}
	defer root.Close()
	if _, err := root.Stat(sub); err != nil {
		if err := root.MkdirAll(sub, 0o750); err != nil {
			return "", err
		}
	}
	return filepath.EvalSymlinks(filepath.Join(volume, sub))
}

// etcFiles writes the pod's hosts, resolv.conf and hostname files. In the
// node's network the node's hosts file is used, with the pod's aliases.
func (k *Kubelet) etcFiles(in *containerInput) ([]*cri.Mount, error) {
	pod := in.pod
	hosts := k.formatHosts(pod, in.ips)
	if pod.Spec.HostNetwork {
		text, _ := os.ReadFile("/etc/hosts")
		hosts = "# Kubernetes-managed hosts file (host network).\n" + string(text) + formatAliases(pod.Spec.HostAliases)
	}
	name, _ := k.hostname(pod)
	var list []*cri.Mount
	for _, f := range []struct{ name, text string }{
		{"hosts", hosts}, {"resolv.conf", formatResolvConf(k.dnsConfig(pod))}, {"hostname", name + "\n"},
	} {
		path := filepath.Join(k.podDir(pod.UID), "etc-"+f.name)
		if err := writeFile(path, f.text, 0o644); err != nil {
			return nil, fmt.Errorf("write %s: %w", f.name, err)
		}
		list = append(list, &cri.Mount{HostPath: path, ContainerPath: "/etc/" + f.name})
	}
	return list, nil
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

// messageFile is what a container finds at its terminationMessagePath.
func (k *Kubelet) messageFile(pod *corev1.Pod, container string, attempt int) string {
	return filepath.Join(k.podDir(pod.UID), "containers", container, fmt.Sprint(attempt))
}

// Limits of termination messages. ("Determine the Reason for Pod Failure".)
const (
	maxMessage      = 4096
	maxMessageLog   = 2048
	maxMessageLines = 80
)

// terminationMessage is what a container that has ended left to say: its file,
// or the end of its log if it failed and its policy allows it.
func (w *podWorker) terminationMessage(c *containerState) string {
	if text, known := w.messages[c.Id]; known {
		return text
	}
	pod := w.current()
	text := readStart(w.k.messageFile(pod, c.name(), c.restarts()), maxMessage)
	if text == "" && c.ExitCode != 0 && c.Annotations[annotationPolicy] == string(corev1.TerminationMessageFallbackToLogsOnError) {
		text = logTail(c.LogPath, maxMessageLines, maxMessageLog)
	}
	w.messages[c.Id] = text
	return text
}

func readStart(path string, limit int64) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, limit))
	return string(text)
}
