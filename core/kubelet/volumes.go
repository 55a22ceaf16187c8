package kubelet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"golang.org/x/sys/unix"
)

// prepare makes the pod's directories and volumes; it is safe to repeat, and
// repeating brings volumes from the API up to date.
func (w *podWorker) prepare(ctx context.Context, pod *corev1.Pod) error {
	if err := os.MkdirAll(w.k.podDir(pod.UID), 0o750); err != nil {
		return fmt.Errorf("pod directory: %w", err)
	}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if err := w.volume(ctx, pod, v); err != nil {
			w.k.events.pod(ctx, pod, corev1.EventTypeWarning, "FailedMount", "MountVolume.SetUp failed for volume %q : %v", v.Name, err)
			return fmt.Errorf("volume %s: %w", v.Name, err)
		}
	}
	return nil
}

// volumePath is where a volume that the kubelet makes lies.
func (k *Kubelet) volumePath(uid types.UID, plugin, name string) string {
	return filepath.Join(k.podDir(uid), "volumes", "kubernetes.io~"+plugin, name)
}

// hostPath is where the contents of one of the pod's volumes are on the node.
func (k *Kubelet) hostPath(pod *corev1.Pod, v *corev1.Volume) (string, error) {
	switch {
	case v.HostPath != nil:
		return v.HostPath.Path, nil
	case v.EmptyDir != nil:
		return k.volumePath(pod.UID, "empty-dir", v.Name), nil
	case v.ConfigMap != nil:
		return k.volumePath(pod.UID, "configmap", v.Name), nil
	case v.Secret != nil:
		return k.volumePath(pod.UID, "secret", v.Name), nil
	case v.DownwardAPI != nil:
		return k.volumePath(pod.UID, "downward-api", v.Name), nil
	case v.Projected != nil:
		return k.volumePath(pod.UID, "projected", v.Name), nil
	}
	return "", errors.New("no volume plugin matched: this kind of volume is not supported")
}

func (w *podWorker) volume(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) error {
	path, err := w.k.hostPath(pod, v)
	switch {
	case err != nil:
		return err
	case v.EmptyDir != nil:
		return emptyDir(path, v.EmptyDir, pod)
	case v.HostPath != nil:
		return checkHostPath(v.HostPath)
	}
	files, err := w.k.payload(ctx, pod, v, w.ips(pod))
	if err != nil {
		return err
	}
	return writeAtomically(path, files)
}

// emptyDir makes the directory; one in memory is a tmpfs.
func emptyDir(path string, e *corev1.EmptyDirVolumeSource, pod *corev1.Pod) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := os.MkdirAll(path, 0o777); err != nil {
		return err
	}
	if e.Medium == corev1.StorageMediumMemory {
		options := ""
		if e.SizeLimit != nil && e.SizeLimit.Value() > 0 {
			options = fmt.Sprintf("size=%d", e.SizeLimit.Value())
		}
		if err := unix.Mount("tmpfs", path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
			_ = os.Remove(path)
			return fmt.Errorf("mount tmpfs: %w", err)
		}
	}
	mode := os.FileMode(0o777)
	if sc := pod.Spec.SecurityContext; sc != nil && sc.FSGroup != nil {
		if err := os.Chown(path, -1, int(*sc.FSGroup)); err != nil {
			return err
		}
		mode |= os.ModeSetgid
	}
	return os.Chmod(path, mode)
}

// checkHostPath makes or checks what a hostPath volume names, by its type.
// ("Volumes", "hostPath volume types".)
func checkHostPath(h *corev1.HostPathVolumeSource) error {
	kind := corev1.HostPathUnset
	if h.Type != nil {
		kind = *h.Type
	}
	info, err := os.Stat(h.Path)
	missing := errors.Is(err, os.ErrNotExist)
	want := func(ok bool, what string) error {
		if err != nil || !ok {
			return fmt.Errorf("hostPath type check failed: %s is not %s", h.Path, what)
		}
		return nil
	}
	switch kind {
	case corev1.HostPathDirectoryOrCreate:
		if missing {
			return os.MkdirAll(h.Path, 0o755)
		}
		return want(err == nil && info.IsDir(), "a directory")
	case corev1.HostPathFileOrCreate:
		if missing {
			return os.WriteFile(h.Path, nil, 0o644)
		}
		return want(err == nil && info.Mode().IsRegular(), "a file")
	case corev1.HostPathDirectory:
		return want(err == nil && info.IsDir(), "a directory")
	case corev1.HostPathFile:
		return want(err == nil && info.Mode().IsRegular(), "a file")
	case corev1.HostPathSocket:
		return want(err == nil && info.Mode()&os.ModeSocket != 0, "a socket file")
	case corev1.HostPathCharDev:
		return want(err == nil && info.Mode()&os.ModeCharDevice != 0, "a character device")
	case corev1.HostPathBlockDev:
		return want(err == nil && info.Mode()&os.ModeDevice != 0 && info.Mode()&os.ModeCharDevice == 0, "a block device")
	}
	if missing {
		return os.MkdirAll(h.Path, 0o755)
	}
	return nil
}

// removeVolumes unmounts what was mounted for a pod.
func (k *Kubelet) removeVolumes(uid types.UID) error {
	base := filepath.Join(k.podDir(uid), "volumes")
	kinds, _ := filepath.Glob(base + "/*/*")
	for _, path := range kinds {
		err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
	return nil
}
