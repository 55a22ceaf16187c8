package kubelet

import (
	"context"
	"errors"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/klab-project/klab/core/kubelet/volume"
)

// environ resolves the environment of one container.
type environ struct {
	k       *Kubelet
	in      *containerInput
	list    []corev1.EnvVar
	index   map[string]int
	service map[string]string
}

// environment is the container's: ConfigMaps and Secrets as a whole, then what
// is declared, in that order, and then the services that are not among them.
func (k *Kubelet) environment(ctx context.Context, in *containerInput) ([]corev1.EnvVar, error) {
	e := &environ{k: k, in: in, index: map[string]int{}, service: map[string]string{}}
	services, err := k.serviceEnvironment(ctx, in.pod)
	if err != nil {
		return nil, err
	}
	for _, v := range services {
		e.service[v.Name] = v.Value
	}
	for _, from := range in.container.EnvFrom {
		if err := e.from(ctx, from); err != nil {
			return nil, err
		}
	}
	for _, v := range in.container.Env {
		value, ok, err := e.value(ctx, v)
		if err != nil {
			return nil, err
		}
		if ok {
			e.set(v.Name, value)
		}
	}
	for _, v := range services {
		if _, set := e.index[v.Name]; !set {
			e.set(v.Name, v.Value)
		}
	}
	return e.list, nil
}

// serviceEnvironment are the variables by which the pod finds services.
// Without a Service default/kubernetes in the API it is what this kubelet was
// told.
func (k *Kubelet) serviceEnvironment(ctx context.Context, pod *corev1.Pod) ([]corev1.EnvVar, error) {
	if err := k.services.wait(ctx, k, pod); err != nil {
		return nil, err
	}
	list := k.services.visible(pod)
	found := false
	for _, svc := range list {
		found = found || svc.Name == "kubernetes"
	}
	if !found && k.ServiceHost != "" {
		svc := &corev1.Service{Spec: corev1.ServiceSpec{ClusterIP: k.ServiceHost, Ports: []corev1.ServicePort{{Name: "https", Port: int32(k.ServicePort)}}}}
		svc.Name = "kubernetes"
		list = append(list, svc)
	}
	return serviceVariables(list), nil
}

func (e *environ) set(name, value string) {
	if i, known := e.index[name]; known {
		e.list[i].Value = value
		return
	}
	e.index[name] = len(e.list)
	e.list = append(e.list, corev1.EnvVar{Name: name, Value: value})
}

// from adds all keys of a ConfigMap or Secret. Every key that these may have
// is a name that a variable may have.
func (e *environ) from(ctx context.Context, from corev1.EnvFromSource) error {
	var data map[string]string
	var err error
	var optional *bool
	switch {
	case from.ConfigMapRef != nil:
		optional = from.ConfigMapRef.Optional
		data, err = e.configMap(ctx, from.ConfigMapRef.Name)
	case from.SecretRef != nil:
		optional = from.SecretRef.Optional
		data, err = e.secret(ctx, from.SecretRef.Name)
	}
	if apierrors.IsNotFound(err) && optional != nil && *optional {
		return nil
	}
	for _, name := range sortedKeys(data) {
		e.set(from.Prefix+name, data[name])
	}
	return err
}

func (e *environ) configMap(ctx context.Context, name string) (map[string]string, error) {
	cm, err := e.k.objects.configMap(ctx, e.in.pod, name)
	if err != nil {
		return nil, err
	}
	return cm.Data, nil // binary data is for volumes only
}

func (e *environ) secret(ctx context.Context, name string) (map[string]string, error) {
	secret, err := e.k.objects.secret(ctx, e.in.pod, name)
	if err != nil {
		return nil, err
	}
	data := make(map[string]string, len(secret.Data))
	for key, value := range secret.Data {
		data[key] = string(value)
	}
	return data, nil
}

// value is one variable's; ok is false when it is optional and not there.
func (e *environ) value(ctx context.Context, v corev1.EnvVar) (value string, ok bool, err error) {
	if v.Value != "" || v.ValueFrom == nil {
		return expand(v.Value, e.lookup), true, nil
	}
	namespace := e.in.pod.Namespace
	switch from := v.ValueFrom; {
	case from.FieldRef != nil:
		value, err = e.k.podField(e.in.pod, from.FieldRef.FieldPath, e.in.ips)
		return value, true, err
	case from.ResourceFieldRef != nil:
		value, err = e.k.resourceField(e.in.pod, e.in.container, from.ResourceFieldRef)
		return value, true, err
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		data, err := e.configMap(ctx, ref.Name)
		return pick(data, err, ref.Key, ref.Optional, "ConfigMap", namespace+"/"+ref.Name)
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		data, err := e.secret(ctx, ref.Name)
		return pick(data, err, ref.Key, ref.Optional, "Secret", namespace+"/"+ref.Name)
	case from.FileKeyRef != nil:
		return e.fromFile(from.FileKeyRef)
	}
	return "", true, nil
}

func pick(data map[string]string, err error, key string, optional *bool, kind, name string) (string, bool, error) {
	optionally := optional != nil && *optional
	if err != nil {
		if apierrors.IsNotFound(err) && optionally {
			return "", false, nil
		}
		return "", false, err
	}
	value, ok := data[key]
	if !ok && !optionally {
		return "", false, fmt.Errorf("couldn't find key %v in %s %v", key, kind, name)
	}
	return value, ok, nil
}

// fromFile reads a variable from a file that an init container has written.
func (e *environ) fromFile(ref *corev1.FileKeySelector) (string, bool, error) {
	v := findVolume(e.in.pod, ref.VolumeName)
	if v == nil {
		return "", false, fmt.Errorf("cannot find the volume %q referenced by FileKeyRef", ref.VolumeName)
	}
	path, err := volume.Path(e.k.podDir(e.in.pod.UID), v)
	if err != nil {
		return "", false, fmt.Errorf("failed to get host path for volume %q: %w", ref.VolumeName, err)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return "", false, err
	}
	defer root.Close()
	f, err := root.Open(ref.Path)
	if err != nil {
		e.k.log.Warn("read an environment file", "pod", podText(e.in.pod), "err", err)
		return "", false, errors.New("couldn't parse env file")
	}
	defer f.Close()
	value, err := readEnvFile(f, ref.Key)
	switch {
	case err != nil:
		e.k.log.Warn("read an environment file", "pod", podText(e.in.pod), "err", err)
		return "", false, errors.New("couldn't parse env file")
	case value == "" && ref.Optional != nil && *ref.Optional:
		return "", false, nil
	case value == "":
		return "", false, fmt.Errorf("environment variable key %q not found in file %q", ref.Key, path+"/"+ref.Path)
	}
	return value, true, nil
}

func (e *environ) lookup(name string) (string, bool) {
	if i, ok := e.index[name]; ok {
		return e.list[i].Value, true
	}
	value, ok := e.service[name]
	return value, ok
}
