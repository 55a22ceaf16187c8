package kubelet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/klab-project/klab/core/api"
)

// Annotations of static pods and of their mirrors, as upstream's kubelet has them.
const (
	annotationSource = "kubernetes.io/config.source"
	annotationHashed = "kubernetes.io/config.hash"
	annotationSeen   = "kubernetes.io/config.seen"
	sourceFile       = "file"
)

// isStatic tells whether a pod comes from a file of the node and not from the API.
func isStatic(pod *corev1.Pod) bool {
	return pod.Annotations[annotationSource] == sourceFile && !isMirror(pod)
}

func isMirror(pod *corev1.Pod) bool {
	_, is := pod.Annotations[corev1.MirrorPodAnnotationKey]
	return is
}

// readStatic makes the pod of a file: named after the node, bound to it, and
// with an identity that changes with the file. ("Create static Pods".)
func readStatic(path, node string) (*corev1.Pod, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	gvk := corev1.SchemeGroupVersion.WithKind("Pod")
	obj, _, err := api.Decode(text, "application/yaml", gvk, metav1.FieldValidationStrict)
	if err != nil {
		return nil, err
	}
	m := obj.(metav1.Object)
	hash := sha256.New()
	fmt.Fprintf(hash, "host:%s file:%s ", node, path)
	hash.Write(text)
	id := hex.EncodeToString(hash.Sum(nil)[:16])
	m.SetUID(types.UID(id))
	m.SetName(strings.ToLower(m.GetName() + "-" + node))
	if m.GetNamespace() == "" {
		m.SetNamespace(corev1.NamespaceDefault)
	}
	notes := m.GetAnnotations()
	if notes == nil {
		notes = map[string]string{}
	}
	notes[annotationSource], notes[annotationHashed] = sourceFile, id
	m.SetAnnotations(notes)
	if _, err := api.Find(corev1.SchemeGroupVersion.WithResource("pods")).ValidateCreate(context.Background(), obj); err != nil {
		return nil, err
	}
	pod := new(corev1.Pod)
	if err := api.Scheme().Convert(obj, pod, nil); err != nil {
		return nil, err
	}
	if err := selfContained(pod); err != nil {
		return nil, err
	}
	pod.Spec.NodeName = node
	pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute})
	if p, ok := map[string]int32{"system-cluster-critical": criticalPriority, "system-node-critical": criticalPriority + 1000}[pod.Spec.PriorityClassName]; ok {
		pod.Spec.Priority = &p
	}
	return pod, nil
}

// selfContained refuses what a pod cannot have that must start without the API.
func selfContained(pod *corev1.Pod) error {
	if pod.Spec.ServiceAccountName != "" {
		return errors.New("a static pod cannot have a service account")
	}
	if len(pod.Spec.EphemeralContainers) > 0 {
		return errors.New("a static pod cannot have ephemeral containers")
	}
	for _, v := range pod.Spec.Volumes {
		if v.ConfigMap != nil || v.Secret != nil || v.Projected != nil || v.PersistentVolumeClaim != nil {
			return fmt.Errorf("a static pod cannot refer to objects of the API, as its volume %q does", v.Name)
		}
	}
	all := append(append([]corev1.Container{}, pod.Spec.InitContainers...), pod.Spec.Containers...)
	for i := range all {
		for _, e := range all[i].Env {
			if from := e.ValueFrom; from != nil && (from.ConfigMapKeyRef != nil || from.SecretKeyRef != nil) {
				return fmt.Errorf("a static pod cannot refer to objects of the API, as its variable %q does", e.Name)
			}
		}
		if len(all[i].EnvFrom) > 0 {
			return errors.New("a static pod cannot refer to objects of the API, as its envFrom does")
		}
	}
	return nil
}

// staticFiles are the manifests of a directory; hidden files are none.
func staticFiles(dir string) []string {
	var files []string
	for _, pattern := range []string{"*.yaml", "*.yml", "*.json"} {
		found, _ := filepath.Glob(filepath.Join(dir, pattern))
		for _, path := range found {
			if !strings.HasPrefix(filepath.Base(path), ".") {
				files = append(files, path)
			}
		}
	}
	return files
}
