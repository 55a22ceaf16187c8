package kubelet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// volumeFile is one file of a volume that the kubelet writes.
type volumeFile struct {
	data string
	mode os.FileMode
}

// payload is what the files of a volume from the API contain, by their paths.
func (k *Kubelet) payload(ctx context.Context, pod *corev1.Pod, v *corev1.Volume, ips []string) (map[string]volumeFile, error) {
	files := map[string]volumeFile{}
	cache := map[string]map[string]string{}
	switch {
	case v.ConfigMap != nil:
		data, err := k.configMap(ctx, cache, pod.Namespace, v.ConfigMap.Name)
		return files, project(files, data, err, v.ConfigMap.Items, v.ConfigMap.DefaultMode, v.ConfigMap.Optional)
	case v.Secret != nil:
		data, err := k.secret(ctx, cache, pod.Namespace, v.Secret.SecretName)
		return files, project(files, data, err, v.Secret.Items, v.Secret.DefaultMode, v.Secret.Optional)
	case v.DownwardAPI != nil:
		return files, k.projectDownward(files, pod, v.DownwardAPI.Items, v.DownwardAPI.DefaultMode, ips)
	}
	for _, source := range v.Projected.Sources {
		var err error
		switch mode := v.Projected.DefaultMode; {
		case source.ConfigMap != nil:
			data, got := k.configMap(ctx, cache, pod.Namespace, source.ConfigMap.Name)
			err = project(files, data, got, source.ConfigMap.Items, mode, source.ConfigMap.Optional)
		case source.Secret != nil:
			data, got := k.secret(ctx, cache, pod.Namespace, source.Secret.Name)
			err = project(files, data, got, source.Secret.Items, mode, source.Secret.Optional)
		case source.DownwardAPI != nil:
			err = k.projectDownward(files, pod, source.DownwardAPI.Items, mode, ips)
		default:
			err = errors.New("this source of a projected volume is not supported yet")
		}
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}

func fileMode(modes ...*int32) os.FileMode {
	for _, m := range modes {
		if m != nil {
			return os.FileMode(*m) & 0o777
		}
	}
	return 0o644
}

// project adds a ConfigMap's or Secret's keys: all, or those that items name.
func project(files map[string]volumeFile, data map[string]string, err error, items []corev1.KeyToPath, mode *int32, optional *bool) error {
	optionally := optional != nil && *optional
	if err != nil {
		if apierrors.IsNotFound(err) && optionally {
			return nil
		}
		return err
	}
	if len(items) == 0 {
		for key, value := range data {
			files[key] = volumeFile{value, fileMode(mode)}
		}
	}
	for _, item := range items {
		value, ok := data[item.Key]
		if !ok && !optionally {
			return fmt.Errorf("references non-existent config key: %s", item.Key)
		}
		if ok {
			files[item.Path] = volumeFile{value, fileMode(item.Mode, mode)}
		}
	}
	return nil
}

func (k *Kubelet) projectDownward(files map[string]volumeFile, pod *corev1.Pod, items []corev1.DownwardAPIVolumeFile, mode *int32, ips []string) error {
	for _, item := range items {
		var value string
		var err error
		switch {
		case item.FieldRef != nil:
			value, err = k.podField(pod, item.FieldRef.FieldPath, ips)
		case item.ResourceFieldRef != nil:
			value, err = k.resourceField(pod, nil, item.ResourceFieldRef)
		}
		if err != nil {
			return err
		}
		files[item.Path] = volumeFile{value, fileMode(item.Mode, mode)}
	}
	return nil
}

// writeAtomically makes dir show exactly the files, all at once: they lie in a
// directory of their own, which the link ..data names. Readers see all of the
// old ones or all of the new ones.
func writeAtomically(dir string, files map[string]volumeFile) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	link := filepath.Join(dir, "..data")
	old, _ := os.Readlink(link)
	if old != "" && sameFiles(filepath.Join(dir, old), files) {
		return nil
	}
	fresh, err := os.MkdirTemp(dir, "..v")
	if err != nil {
		return err
	}
	if err := os.Chmod(fresh, 0o755); err != nil {
		return err
	}
	for path, f := range files {
		if !filepath.IsLocal(path) {
			return fmt.Errorf("path %q leaves the volume", path)
		}
		full := filepath.Join(fresh, path)
		err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.WriteFile(full, []byte(f.data), f.mode), os.Chmod(full, f.mode))
		if err != nil {
			return err
		}
	}
	if err := errors.Join(os.Symlink(filepath.Base(fresh), link+"_tmp"), os.Rename(link+"_tmp", link)); err != nil {
		return err
	}
	if err := showFiles(dir, files); err != nil {
		return err
	}
	if old != "" {
		return os.RemoveAll(filepath.Join(dir, old))
	}
	return nil
}

// showFiles makes the volume's top level name what ..data has, and nothing else.
func showFiles(dir string, files map[string]volumeFile) error {
	var tops []string
	for path := range files {
		top, _, _ := strings.Cut(path, "/")
		if slices.Contains(tops, top) {
			continue
		}
		tops = append(tops, top)
		if err := os.Symlink("..data/"+top, filepath.Join(dir, top)); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "..") && !slices.Contains(tops, e.Name()) {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

func sameFiles(dir string, files map[string]volumeFile) bool {
	count := 0
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		count++
		name, _ := filepath.Rel(dir, path)
		text, err := os.ReadFile(path)
		if f, ok := files[name]; err != nil || !ok || f.data != string(text) {
			return errors.New("differs")
		}
		return nil
	})
	return err == nil && count == len(files)
}
