package kubelet

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// environ resolves the environment of one container.
type environ struct {
	k       *Kubelet
	in      *containerInput
	list    []corev1.EnvVar
	index   map[string]int
	maps    map[string]map[string]string // ConfigMaps and Secrets that were read
	service map[string]string
}

// environment is the container's, in the order in which it is declared, the
// variables of Service default/kubernetes last.
func (k *Kubelet) environment(ctx context.Context, in *containerInput) ([]corev1.EnvVar, error) {
	e := &environ{k: k, in: in, index: map[string]int{}, maps: map[string]map[string]string{}, service: map[string]string{}}
	services := k.serviceVariables()
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

func (e *environ) set(name, value string) {
	if i, known := e.index[name]; known {
		e.list[i].Value = value
		return
	}
	e.index[name] = len(e.list)
	e.list = append(e.list, corev1.EnvVar{Name: name, Value: value})
}

func (e *environ) from(ctx context.Context, from corev1.EnvFromSource) error {
	var data map[string]string
	var err error
	var optional *bool
	switch {
	case from.ConfigMapRef != nil:
		optional = from.ConfigMapRef.Optional
		data, err = e.k.configMap(ctx, e.maps, e.in.pod.Namespace, from.ConfigMapRef.Name)
	case from.SecretRef != nil:
		optional = from.SecretRef.Optional
		data, err = e.k.secret(ctx, e.maps, e.in.pod.Namespace, from.SecretRef.Name)
	}
	if apierrors.IsNotFound(err) && optional != nil && *optional {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range sortedKeys(data) {
		if len(validation.IsEnvVarName(from.Prefix+name)) == 0 {
			e.set(from.Prefix+name, data[name])
		}
	}
	return nil
}

// value is one variable's; ok is false when it is optional and not there.
func (e *environ) value(ctx context.Context, v corev1.EnvVar) (value string, ok bool, err error) {
	if v.ValueFrom == nil {
		return expand(v.Value, e.lookup), true, nil
	}
	switch from := v.ValueFrom; {
	case from.FieldRef != nil:
		value, err = e.k.podField(e.in.pod, from.FieldRef.FieldPath, e.in.ips)
		return value, true, err
	case from.ResourceFieldRef != nil:
		value, err = e.k.resourceField(e.in.pod, e.in.container, from.ResourceFieldRef)
		return value, true, err
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		data, err := e.k.configMap(ctx, e.maps, e.in.pod.Namespace, ref.Name)
		return pick(data, err, ref.Key, ref.Optional, "ConfigMap", e.in.pod.Namespace+"/"+ref.Name)
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		data, err := e.k.secret(ctx, e.maps, e.in.pod.Namespace, ref.Name)
		return pick(data, err, ref.Key, ref.Optional, "Secret", e.in.pod.Namespace+"/"+ref.Name)
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

func (e *environ) lookup(name string) (string, bool) {
	if i, ok := e.index[name]; ok {
		return e.list[i].Value, true
	}
	value, ok := e.service[name]
	return value, ok
}

// expand replaces $(NAME) by NAME's value; $$ stands for $, and what is not
// known stays as it is. ("Define Dependent Environment Variables".)
func expand(s string, lookup func(string) (string, bool)) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '$' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		switch end := strings.IndexByte(s[i:], ')'); {
		case s[i+1] == '$':
			b.WriteByte('$')
			i++
		case s[i+1] == '(' && end > 0:
			name := s[i+2 : i+end]
			if value, ok := lookup(name); ok {
				b.WriteString(value)
			} else {
				b.WriteString(s[i : i+end+1])
			}
			i += end
		default:
			b.WriteByte('$')
		}
	}
	return b.String()
}

func expandCommand(c *corev1.Container, env []corev1.EnvVar) (command, args []string) {
	values := map[string]string{}
	for _, v := range env {
		values[v.Name] = v.Value
	}
	lookup := func(name string) (string, bool) { v, ok := values[name]; return v, ok }
	for _, word := range c.Command {
		command = append(command, expand(word, lookup))
	}
	for _, word := range c.Args {
		args = append(args, expand(word, lookup))
	}
	return command, args
}

// serviceVariables are those of Service default/kubernetes.
func (k *Kubelet) serviceVariables() []corev1.EnvVar {
	if k.ServiceHost == "" {
		return nil
	}
	port := fmt.Sprint(k.ServicePort)
	url := "tcp://" + k.ServiceHost + ":" + port
	prefix := "KUBERNETES_PORT_" + port + "_TCP"
	return []corev1.EnvVar{
		{Name: "KUBERNETES_SERVICE_HOST", Value: k.ServiceHost}, {Name: "KUBERNETES_SERVICE_PORT", Value: port},
		{Name: "KUBERNETES_SERVICE_PORT_HTTPS", Value: port}, {Name: "KUBERNETES_PORT", Value: url},
		{Name: prefix, Value: url}, {Name: prefix + "_PROTO", Value: "tcp"},
		{Name: prefix + "_PORT", Value: port}, {Name: prefix + "_ADDR", Value: k.ServiceHost},
	}
}

func (k *Kubelet) configMap(ctx context.Context, cache map[string]map[string]string, namespace, name string) (map[string]string, error) {
	if data, ok := cache["configmaps/"+name]; ok {
		return data, nil
	}
	cm, err := k.Client.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, apierrors.NewNotFound(corev1.Resource("configmap"), name) // kubelets name the kind
	}
	if err != nil {
		return nil, err
	}
	data := map[string]string{}
	for key, value := range cm.BinaryData {
		data[key] = string(value)
	}
	for key, value := range cm.Data {
		data[key] = value
	}
	cache["configmaps/"+name] = data
	return data, nil
}

func (k *Kubelet) secret(ctx context.Context, cache map[string]map[string]string, namespace, name string) (map[string]string, error) {
	if data, ok := cache["secrets/"+name]; ok {
		return data, nil
	}
	secret, err := k.Client.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	data := map[string]string{}
	for key, value := range secret.Data {
		data[key] = string(value)
	}
	cache["secrets/"+name] = data
	return data, nil
}
