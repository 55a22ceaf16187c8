package volume

import (
	"errors"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
)

// checkHost makes or checks what a hostPath volume names, by its type.
// ("Volumes", "hostPath volume types".)
func checkHost(h *corev1.HostPathVolumeSource) error {
	kind := corev1.HostPathUnset
	if h.Type != nil {
		kind = *h.Type
	}
	_, err := os.Stat(h.Path)
	missing := errors.Is(err, os.ErrNotExist)
	switch kind {
	case corev1.HostPathUnset: // the runtime makes a directory
		return nil
	case corev1.HostPathDirectoryOrCreate:
		if missing {
			return os.MkdirAll(h.Path, 0o755)
		}
		return is(h.Path, corev1.HostPathDirectory, "directory")
	case corev1.HostPathFileOrCreate:
		if missing {
			return makeFile(h.Path)
		}
		return is(h.Path, corev1.HostPathFile, "file")
	case corev1.HostPathDirectory:
		return is(h.Path, kind, "directory")
	case corev1.HostPathFile:
		return is(h.Path, kind, "file")
	case corev1.HostPathSocket:
		return is(h.Path, kind, "socket file")
	case corev1.HostPathCharDev:
		return is(h.Path, kind, "character device")
	case corev1.HostPathBlockDev:
		return is(h.Path, kind, "block device")
	}
	return fmt.Errorf("%s is an invalid volume type", kind)
}

func is(path string, want corev1.HostPathType, words string) error {
	have, err := typeOf(path)
	if err != nil {
		return fmt.Errorf("hostPath type check failed, %s is not a %s, unable to determine its type: %w", path, words, err)
	}
	if have != want {
		return fmt.Errorf("hostPath type check failed: %s is not a %s, it's a %s", path, words, have)
	}
	return nil
}

func typeOf(path string) (corev1.HostPathType, error) {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("path %q does not exist", path)
	}
	if err != nil {
		return "", err
	}
	switch mode := info.Mode(); {
	case mode&os.ModeSocket != 0:
		return corev1.HostPathSocket, nil
	case mode&os.ModeCharDevice != 0:
		return corev1.HostPathCharDev, nil
	case mode&os.ModeDevice != 0:
		return corev1.HostPathBlockDev, nil
	case mode.IsDir():
		return corev1.HostPathDirectory, nil
	case mode.IsRegular():
		return corev1.HostPathFile, nil
	}
	return "", errors.New("only recognise file, directory, socket, block device and character device")
}

func makeFile(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}
