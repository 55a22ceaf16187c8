package cluster_test

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/registry/toolsbin"
)

// pushTools starts a registry on the machine's loopback, with one image made
// of the tools' layer, and returns the image's name.
func pushTools(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(toolsbin.Compressed())), nil
	})
	require.NoError(t, err)
	image, err := mutate.AppendLayers(empty.Image, layer)
	require.NoError(t, err)
	image, err = mutate.ConfigFile(image, &v1.ConfigFile{
		OS: "linux", Architecture: "amd64", RootFS: must(image.ConfigFile())(t).RootFS,
		Config: v1.Config{Env: []string{"PATH=/bin", "GREETING=from elsewhere"}, Cmd: []string{"sh", "-c", "echo $GREETING; sleep 600"}},
	})
	require.NoError(t, err)
	ref, err := name.ParseReference(strings.TrimPrefix(server.URL, "http://") + "/team/app:v1")
	require.NoError(t, err)
	require.NoError(t, remote.Write(ref, image))
	return ref.Name()
}

func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T { require.NoError(t, err); return value }
}

// An image of any registry that the machine reaches is pulled, here through
// the machine's loopback, which nodes do not have.
func TestPullFromAnotherRegistry(t *testing.T) {
	l := newLab(t)
	image := pushTools(t)
	l.up(1)
	l.kubectl("run", "app", "--image="+image)
	l.kubectl("wait", "--for=condition=Ready", "pod/app", "--timeout=120s")
	l.eventually("from elsewhere", "logs", "app")
	require.Equal(t, image, l.kubectl("get", "pod", "app", "-o", "jsonpath={.status.containerStatuses[0].image}"))
	require.Contains(t, l.kubectl("get", "pod", "app", "-o", "jsonpath={.status.containerStatuses[0].imageID}"),
		strings.TrimSuffix(image, ":v1")+"@sha256:")

	missing := strings.TrimSuffix(image, "v1") + "v2"
	l.kubectl("run", "none", "--image="+missing)
	l.eventually("ImagePullBackOff", "get", "pod", "none", "-o", "jsonpath={.status.containerStatuses[0].state.waiting.reason}")
	require.Eventually(t, func() bool {
		text, _ := l.try("describe", "pod", "none")
		return strings.Contains(text, fmt.Sprintf("Failed to pull image %q", missing))
	}, eventually, tick, "the event about it")
}
