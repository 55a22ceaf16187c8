package kubelet

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// keyring is the credentials of a pod's imagePullSecrets by the registry, and
// maybe the beginning of the path there, that they are for; the host may have
// wildcards. Rules are upstream's (pkg/credentialprovider).
type keyring map[string][]*cri.AuthConfig

// dockerHub is the key under which docker keeps what is for its own registry.
const dockerHub = "index.docker.io"

// dockerEntry is one entry of docker's configuration file.
type dockerEntry struct {
	Username, Password, Auth string
}

// add reads one secret. A secret of another type is no error, and has nothing.
func (r keyring) add(secret *corev1.Secret) error {
	var entries map[string]dockerEntry
	var err error
	switch secret.Type {
	case corev1.SecretTypeDockerConfigJson:
		var file struct{ Auths map[string]dockerEntry }
		err = json.Unmarshal(secret.Data[corev1.DockerConfigJsonKey], &file)
		entries = file.Auths
	case corev1.SecretTypeDockercfg:
		err = json.Unmarshal(secret.Data[corev1.DockerConfigKey], &entries)
	}
	if err != nil {
		return fmt.Errorf("secret %s/%s is no docker configuration: %w", secret.Namespace, secret.Name, err)
	}
	for _, where := range slices.Sorted(maps.Keys(entries)) {
		auth, err := entries[where].credentials()
		if err != nil {
			return fmt.Errorf("secret %s/%s, registry %s: %w", secret.Namespace, secret.Name, where, err)
		}
		if at, err := placeOf(where); err == nil {
			r[at] = append(r[at], auth)
		}
	}
	return nil
}

func (e dockerEntry) credentials() (*cri.AuthConfig, error) {
	if e.Auth == "" {
		return &cri.AuthConfig{Username: e.Username, Password: e.Password}, nil
	}
	text, err := base64.StdEncoding.DecodeString(e.Auth)
	if err != nil {
		if text, err = base64.RawStdEncoding.DecodeString(e.Auth); err != nil {
			return nil, fmt.Errorf("its auth is not base64: %w", err)
		}
	}
	name, password, ok := strings.Cut(string(text), ":")
	if !ok {
		return nil, fmt.Errorf("unable to parse auth field, must be formatted as base64(username:password)")
	}
	return &cri.AuthConfig{Username: name, Password: password}, nil
}

// placeOf is the host and path of a registry's address as people write it:
// with or without a scheme and the version of the API.
func placeOf(where string) (string, error) {
	if !strings.HasPrefix(where, "https://") && !strings.HasPrefix(where, "http://") {
		where = "https://" + where
	}
	u, err := url.Parse(where)
	if err != nil {
		return "", err
	}
	p := u.Path
	if strings.HasPrefix(p, "/v2/") || strings.HasPrefix(p, "/v1/") {
		p = p[len("/v2"):]
	}
	if p == "/" {
		p = ""
	}
	return u.Host + p, nil
}

// find has the credentials for an image: those of the most exact place first.
func (r keyring) find(image string) []*cri.AuthConfig {
	repo := repositoryOf(image)
	var found []*cri.AuthConfig
	for _, place := range slices.SortedFunc(maps.Keys(r), func(a, b string) int { return cmp.Compare(b, a) }) {
		if covers(place, repo) {
			found = append(found, r[place]...)
		}
	}
	if host, _, _ := strings.Cut(repo, "/"); len(found) == 0 && host == "docker.io" {
		return r[dockerHub]
	}
	return found
}

// repositoryOf is an image's name without tag and digest, with its registry.
func repositoryOf(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if i := strings.LastIndex(image, ":"); i > strings.LastIndex(image, "/") {
		image = image[:i]
	}
	host, rest, slash := strings.Cut(image, "/")
	switch {
	case !slash:
		return "docker.io/library/" + image
	case !strings.ContainsAny(host, ".:") && host != "localhost":
		return "docker.io/" + image
	case host == dockerHub:
		return "docker.io/" + rest
	}
	return image
}

// covers tells whether credentials for a place are meant for a repository: as
// many parts of the host's name, each matching, the same port, and a path that
// begins the repository's.
func covers(place, repo string) bool {
	glob, globPath := split(place)
	host, hostPath := split(repo)
	globName, globPort, _ := strings.Cut(glob, ":")
	name, port, _ := strings.Cut(host, ":")
	globParts, parts := strings.Split(globName, "."), strings.Split(name, ".")
	if globPort != port || len(globParts) != len(parts) || !strings.HasPrefix(hostPath, globPath) {
		return false
	}
	for i := range parts {
		if ok, err := path.Match(globParts[i], parts[i]); err != nil || !ok {
			return false
		}
	}
	return true
}

// split separates the host from the path, which keeps its slash.
func split(place string) (host, rest string) {
	if i := strings.Index(place, "/"); i >= 0 {
		return place[:i], place[i:]
	}
	return place, ""
}

// pullSecrets reads the pod's imagePullSecrets. Those that are missing or
// damaged are told, and the pull goes on without them.
func (s *starter) pullSecrets(ctx context.Context, container string) keyring {
	ring := keyring{}
	var missing []string
	for _, ref := range s.pod.Spec.ImagePullSecrets {
		if ref.Name == "" {
			continue
		}
		secret, err := s.w.k.objects.secret(ctx, s.pod, ref.Name)
		if err != nil {
			missing = append(missing, ref.Name)
			continue
		}
		if err := ring.add(secret); err != nil {
			s.w.k.log.Warn("image pull secret", "pod", podText(s.pod), "container", container, "err", err)
		}
	}
	if len(missing) > 0 {
		s.w.k.events.pod(ctx, s.pod, corev1.EventTypeWarning, "FailedToRetrieveImagePullSecret",
			"Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", strings.Join(missing, ", "))
	}
	return ring
}

// pullWith pulls with each of the pod's credentials until one is good, or
// without any if there are none.
func (s *starter) pullWith(ctx context.Context, c *corev1.Container) (id string, err error) {
	auths := s.pullSecrets(ctx, c.Name).find(c.Image)
	if len(auths) == 0 {
		return s.w.k.Runtime.PullImage(ctx, c.Image, nil)
	}
	var first error
	for _, auth := range auths {
		if id, err = s.w.k.Runtime.PullImage(ctx, c.Image, auth); err == nil {
			return id, nil
		}
		if first == nil {
			first = err
		}
		if context.Cause(ctx) != nil {
			break
		}
	}
	return "", first
}
