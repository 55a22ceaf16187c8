package volume

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
)

// files are those of a volume from the API, by their paths in it.
func files(ctx context.Context, pod *corev1.Pod, v *corev1.Volume, s Source) (map[string]File, error) {
	p := payload{pod: pod, source: s}
	switch {
	case v.ConfigMap != nil:
		p.mode = v.ConfigMap.DefaultMode
		return p.configMap(ctx, v.ConfigMap.Name, v.ConfigMap.Items, v.ConfigMap.Optional)
	case v.Secret != nil:
		p.mode = v.Secret.DefaultMode
		return p.secret(ctx, v.Secret.SecretName, v.Secret.Items, v.Secret.Optional)
	case v.DownwardAPI != nil:
		p.mode = v.DownwardAPI.DefaultMode
		return p.downward(v.DownwardAPI.Items)
	}
	p.mode = v.Projected.DefaultMode
	all := map[string]File{}
	var errs []error
	for i := range v.Projected.Sources {
		part, err := p.projected(ctx, &v.Projected.Sources[i])
		errs = append(errs, err)
		maps.Copy(all, part)
	}
	return all, utilerrors.NewAggregate(errs)
}

type payload struct {
	pod    *corev1.Pod
	source Source
	mode   *int32
}

func (p *payload) projected(ctx context.Context, s *corev1.VolumeProjection) (map[string]File, error) {
	switch {
	case s.ConfigMap != nil:
		return p.configMap(ctx, s.ConfigMap.Name, s.ConfigMap.Items, s.ConfigMap.Optional)
	case s.Secret != nil:
		return p.secret(ctx, s.Secret.Name, s.Secret.Items, s.Secret.Optional)
	case s.DownwardAPI != nil:
		return p.downward(s.DownwardAPI.Items)
	case s.ServiceAccountToken != nil:
		return p.token(ctx, s.ServiceAccountToken)
	}
	return nil, errors.New("this source of a projected volume is not supported: use configMap, secret, downwardAPI or serviceAccountToken")
}

// configMap is all of a ConfigMap's keys, or those that items name.
func (p *payload) configMap(ctx context.Context, name string, items []corev1.KeyToPath, optional *bool) (map[string]File, error) {
	cm, err := p.source.ConfigMap(ctx, name)
	if err = forgive(err, optional); err != nil {
		return nil, err
	}
	data := map[string][]byte{}
	if cm != nil {
		maps.Copy(data, cm.BinaryData)
		for key, value := range cm.Data {
			data[key] = []byte(value)
		}
	}
	return p.keys(data, items, optional, "configmap references non-existent config key: %s")
}

func (p *payload) secret(ctx context.Context, name string, items []corev1.KeyToPath, optional *bool) (map[string]File, error) {
	secret, err := p.source.Secret(ctx, name)
	if err = forgive(err, optional); err != nil {
		return nil, err
	}
	var data map[string][]byte
	if secret != nil {
		data = secret.Data
	}
	return p.keys(data, items, optional, "references non-existent secret key: %s")
}

// forgive lets an object be missing that is optional.
func forgive(err error, optional *bool) error {
	if apierrors.IsNotFound(err) && optional != nil && *optional {
		return nil
	}
	return err
}

func (p *payload) keys(data map[string][]byte, items []corev1.KeyToPath, optional *bool, missing string) (map[string]File, error) {
	out := map[string]File{}
	if len(items) == 0 {
		for key, value := range data {
			out[key] = File{Data: value, Mode: fileMode(p.mode)}
		}
	}
	for _, item := range items {
		value, ok := data[item.Key]
		if !ok && (optional == nil || !*optional) {
			return nil, fmt.Errorf(missing, item.Key)
		}
		if ok {
			out[item.Path] = File{Data: value, Mode: fileMode(item.Mode, p.mode)}
		}
	}
	return out, nil
}

func (p *payload) downward(items []corev1.DownwardAPIVolumeFile) (map[string]File, error) {
	out := map[string]File{}
	var errs []error
	for _, item := range items {
		var value string
		var err error
		switch {
		case item.FieldRef != nil:
			value, err = p.source.Field(item.FieldRef.FieldPath)
		case item.ResourceFieldRef != nil:
			value, err = p.source.Resource(item.ResourceFieldRef)
		}
		errs = append(errs, err)
		out[item.Path] = File{Data: []byte(value), Mode: fileMode(item.Mode, p.mode)}
	}
	return out, utilerrors.NewAggregate(errs)
}

// token is readable for the one user that all containers run as, or through
// the fsGroup, and for nobody else; without either its mode is the volume's.
func (p *payload) token(ctx context.Context, t *corev1.ServiceAccountTokenProjection) (map[string]File, error) {
	text, err := p.source.Token(ctx, t)
	if err != nil {
		return nil, err
	}
	f := File{Data: []byte(text), Mode: fileMode(p.mode), User: onlyUser(p.pod)}
	if sc := p.pod.Spec.SecurityContext; f.User != nil || sc != nil && sc.FSGroup != nil {
		f.Mode = 0o600
	}
	return map[string]File{t.Path: f}, nil
}

// onlyUser is the user as which all containers of the pod run, if there is one.
func onlyUser(pod *corev1.Pod) *int64 {
	var only *int64
	same := func(c *corev1.SecurityContext) bool {
		var user *int64
		if pod.Spec.SecurityContext != nil {
			user = pod.Spec.SecurityContext.RunAsUser
		}
		if c != nil && c.RunAsUser != nil {
			user = c.RunAsUser
		}
		if user == nil || only != nil && *only != *user {
			return false
		}
		only = user
		return true
	}
	for i := range pod.Spec.InitContainers {
		if !same(pod.Spec.InitContainers[i].SecurityContext) {
			return nil
		}
	}
	for i := range pod.Spec.Containers {
		if !same(pod.Spec.Containers[i].SecurityContext) {
			return nil
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if !same(pod.Spec.EphemeralContainers[i].SecurityContext) {
			return nil
		}
	}
	return only
}

func fileMode(modes ...*int32) os.FileMode {
	for _, m := range modes {
		if m != nil {
			return unixMode(uint32(*m))
		}
	}
	return 0o644
}

// unixMode is a mode of chmod(2) as Go has it.
func unixMode(m uint32) os.FileMode {
	mode := os.FileMode(m) & 0o777
	for bit, flag := range map[uint32]os.FileMode{0o4000: os.ModeSetuid, 0o2000: os.ModeSetgid, 0o1000: os.ModeSticky} {
		if m&bit != 0 {
			mode |= flag
		}
	}
	return mode
}
