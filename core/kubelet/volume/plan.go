package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/klab-project/klab/core/step"
)

// Mount is one volume as it is to be on the node. One of Dir, Files, Host and
// Bind says what kind it is.
type Mount struct {
	Pod    step.Object
	Volume string // its name in the pod
	Plugin string // "kubernetes.io/empty-dir"
	Path   string // on the node

	Dir   *Dir                         // an empty directory
	Files map[string]File              // a directory with files of the API, over Dir
	Host  *corev1.HostPathVolumeSource // something that is there already
	Bind  *Bind                        // a path inside of another volume

	Group  *int64   // fsGroup: who owns what the kubelet writes
	Nested []string // mount points of other volumes inside of this one
	Update bool     // it was mounted before
}

// Dir is a directory that the kubelet makes: on disk, or a file system in
// memory of Size bytes (0: no limit of its own).
type Dir struct {
	Memory bool
	Size   int64
}

// File is one file of a volume; User owns it, if set.
type File struct {
	Data []byte
	Mode os.FileMode
	User *int64
}

// Source gives the objects and fields that volumes of one pod show.
type Source interface {
	ConfigMap(ctx context.Context, name string) (*corev1.ConfigMap, error)
	Secret(ctx context.Context, name string) (*corev1.Secret, error)
	Token(ctx context.Context, t *corev1.ServiceAccountTokenProjection) (string, error)
	Field(path string) (string, error)
	Resource(ref *corev1.ResourceFieldSelector) (string, error)
}

// Input is what Plan knows besides the pod.
type Input struct {
	PodDir string
	Memory int64 // bytes that the pod may use at most, or that the node gives to pods
	Source Source
}

// errNoPlugin is upstream's for volumes of a kind that this node cannot make.
var errNoPlugin = errors.New("no volume plugin matched")

// Plugin is the name of what makes the volume, e.g. "configmap"; "" if nothing
// of this node does.
func Plugin(v *corev1.Volume) string {
	switch {
	case v.EmptyDir != nil:
		return "empty-dir"
	case v.HostPath != nil:
		return "host-path"
	case v.ConfigMap != nil:
		return "configmap"
	case v.Secret != nil:
		return "secret"
	case v.DownwardAPI != nil:
		return "downward-api"
	case v.Projected != nil:
		return "projected"
	}
	return ""
}

// FromAPI tells whether the volume shows objects of the API: it is read-only,
// and it changes with them.
func FromAPI(v *corev1.Volume) bool {
	return v.ConfigMap != nil || v.Secret != nil || v.DownwardAPI != nil || v.Projected != nil
}

// Path is where the volume is on the node.
func Path(podDir string, v *corev1.Volume) (string, error) {
	switch plugin := Plugin(v); {
	case plugin == "":
		return "", errNoPlugin
	case v.HostPath != nil:
		return v.HostPath.Path, nil
	default:
		return filepath.Join(podDir, "volumes", "kubernetes.io~"+plugin, v.Name), nil
	}
}

// Plan says what is to be on the node for one volume of the pod.
func Plan(ctx context.Context, pod *corev1.Pod, v *corev1.Volume, in Input) (*Mount, error) {
	path, err := Path(in.PodDir, v)
	if err != nil {
		return nil, err
	}
	m := &Mount{Pod: podObject(pod), Volume: v.Name, Plugin: "kubernetes.io/" + Plugin(v), Path: path}
	if sc := pod.Spec.SecurityContext; sc != nil && v.HostPath == nil {
		m.Group = sc.FSGroup
	}
	switch {
	case v.HostPath != nil:
		m.Host = v.HostPath
		return m, noBacksteps(path, "invalid HostPath `%s`: %w")
	case v.EmptyDir != nil:
		m.Dir, err = emptyDir(v.EmptyDir, in.Memory)
		return m, err
	}
	// What may be secret is kept in memory, and never on a disk.
	m.Dir = &Dir{Memory: v.ConfigMap == nil, Size: in.Memory}
	if v.ConfigMap != nil {
		m.Dir.Size = 0
	}
	m.Nested = nested(pod, v.Name)
	m.Files, err = files(ctx, pod, v, in.Source)
	return m, err
}

func podObject(pod *corev1.Pod) step.Object {
	return step.Object{Resource: "pods", Namespace: pod.Namespace, Name: pod.Name, UID: string(pod.UID)}
}

// emptyDir is limited by its own limit or by what the pod may use, whichever
// is less; on disk the limit is watched and not enforced.
func emptyDir(e *corev1.EmptyDirVolumeSource, memory int64) (*Dir, error) {
	switch e.Medium {
	case corev1.StorageMediumDefault:
		return &Dir{}, nil
	case corev1.StorageMediumMemory:
		d := &Dir{Memory: true, Size: memory}
		if limit := e.SizeLimit; limit != nil && limit.Value() > 0 && (memory == 0 || limit.Value() <= memory) {
			d.Size = limit.Value()
		}
		return d, nil
	}
	return nil, fmt.Errorf("unknown storage medium %q", e.Medium)
}

// nested are the paths inside of the volume at which containers mount other
// volumes: a read-only volume must have them already.
func nested(pod *corev1.Pod, volume string) []string {
	var paths []string
	each := append(append([]corev1.Container(nil), pod.Spec.InitContainers...), pod.Spec.Containers...)
	for i := range each {
		for _, outer := range each[i].VolumeMounts {
			if outer.Name != volume || outer.SubPath != "" || outer.SubPathExpr != "" {
				continue
			}
			for _, inner := range each[i].VolumeMounts {
				rel, err := filepath.Rel(outer.MountPath, inner.MountPath)
				if inner.Name != volume && err == nil && rel != "." && filepath.IsLocal(rel) && !slices.Contains(paths, rel) {
					paths = append(paths, rel)
				}
			}
		}
	}
	return paths
}

// noBacksteps refuses paths with "..".
func noBacksteps(path, format string) error {
	if slices.Contains(strings.Split(filepath.ToSlash(path), "/"), "..") {
		return fmt.Errorf(format, path, errors.New("must not contain '..'"))
	}
	return nil
}
