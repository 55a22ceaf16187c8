package kubelet

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

func TestKeyring(t *testing.T) {
	ring := keyring{}
	require.NoError(t, ring.add(&corev1.Secret{Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{
		"https://index.docker.io/v1/": {"username":"hub","password":"p"},
		"reg.io":                      {"auth":"aG9zdDpwOnE="},
		"reg.io/team":                 {"username":"team","password":"p"},
		"reg.io/team/app":             {"username":"app","password":"p"},
		"*.glob.io":                   {"username":"glob","password":"p"},
		"port.io:5000":                {"username":"port","password":"p"},
		"http://plain.io/v2/":         {"username":"plain","password":"p"}
	}}`)}}))
	for image, want := range map[string][]string{
		"nginx":                      {"hub"},
		"user/app:1":                 {"hub"},
		"docker.io/library/nginx":    {"hub"},
		"index.docker.io/user/app":   {"hub"},
		"reg.io/x:1":                 {"host"},
		"reg.io/team/x@sha256:12":    {"team", "host"},
		"reg.io/team/app:1":          {"app", "team", "host"},
		"reg.io:443/x":               nil,
		"a.glob.io/x":                {"glob"},
		"a.b.glob.io/x":              nil,
		"glob.io/x":                  nil,
		"port.io:5000/x:1":           {"port"},
		"port.io/x:1":                nil,
		"plain.io/anything/at/all:1": {"plain"},
		"elsewhere.io/x":             nil,
		"localhost/x":                nil,
	} {
		var got []string
		for _, a := range ring.find(image) {
			got = append(got, a.Username)
		}
		require.Equal(t, want, got, image)
	}
	require.Equal(t, "p:q", ring.find("reg.io/x")[0].Password)

	for data, want := range map[string]string{
		`{`:                                    "is no docker configuration",
		`{"auths":{"x.io":{"auth":"***"}}}`:    "is not base64",
		`{"auths":{"x.io":{"auth":"bm9uZQ"}}}`: "must be formatted as base64(username:password)",
	} {
		err := keyring{}.add(&corev1.Secret{Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(data)}})
		require.ErrorContains(t, err, want)
	}
	empty := keyring{}
	require.NoError(t, empty.add(&corev1.Secret{Type: corev1.SecretTypeOpaque, Data: map[string][]byte{"x": []byte("y")}}))
	require.Empty(t, empty)
}
