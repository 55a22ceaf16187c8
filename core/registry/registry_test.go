package registry

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/stretchr/testify/require"
)

// program stands for klab-tools: the registry does not look into it.
var program = bytes.Repeat([]byte("not a program, but long enough to compress. "), 1000)

func testLayer(t *testing.T) []byte {
	t.Helper()
	layer, err := Pack(program, []string{"sh", "sleep"})
	require.NoError(t, err)
	return layer
}

// serve runs a registry on loopback and returns its host:port.
func serve(t *testing.T, c Config) string {
	t.Helper()
	r, err := New(c)
	require.NoError(t, err)
	s := httptest.NewServer(r)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func reference(t *testing.T, s string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(s, name.Insecure)
	require.NoError(t, err)
	return ref
}

func TestPullBuiltIn(t *testing.T) {
	host := serve(t, Config{Tools: testLayer(t)})
	img, err := remote.Image(reference(t, host+"/tools:1"))
	require.NoError(t, err)
	// Every digest and size, and that the layer unpacks to its diff id.
	require.NoError(t, validate.Image(img))
	config, err := img.ConfigFile()
	require.NoError(t, err)
	require.Equal(t, runtime.GOARCH, config.Architecture)
	require.Equal(t, []string{"sh"}, config.Config.Cmd)

	rd := mutate.Extract(img)
	defer rd.Close()
	kinds := map[string]byte{}
	for tr := tar.NewReader(rd); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		kinds[h.Name] = h.Typeflag
		if h.Name == "bin/klab-tools" {
			body, err := io.ReadAll(tr)
			require.NoError(t, err)
			require.Equal(t, program, body)
			require.Equal(t, int64(0o755), h.Mode)
		}
	}
	require.Equal(t, byte(tar.TypeSymlink), kinds["bin/sh"])
	require.Equal(t, byte(tar.TypeDir), kinds["proc"]) // Extract cleans the names

	pause, err := remote.Image(reference(t, host+"/pause:1"))
	require.NoError(t, err)
	require.NoError(t, validate.Image(pause))
	digest, err := pause.Digest()
	require.NoError(t, err)
	_, err = remote.Image(reference(t, host+"/pause@"+digest.String()))
	require.NoError(t, err)
	tags, err := remote.List(reference(t, host+"/pause:1").Context())
	require.NoError(t, err)
	require.Equal(t, []string{"1"}, tags)
}

func TestSameInputSameDigests(t *testing.T) {
	a, err := Images(testLayer(t))
	require.NoError(t, err)
	b, err := Images(testLayer(t))
	require.NoError(t, err)
	require.Equal(t, a, b)
	other, err := Pack(program, []string{"sh"})
	require.NoError(t, err)
	require.NotEqual(t, digest(testLayer(t)), digest(other))
	require.Equal(t, "klab.local/tools:1", a[0].Reference())
}

func TestLayerThatMakeDidNotMake(t *testing.T) {
	_, err := New(Config{Tools: []byte("nonsense")})
	require.ErrorContains(t, err, "built-in images")
	_, err = Pack(program, nil)
	require.Error(t, err)
	_, err = Pack(program, []string{"../sh"})
	require.Error(t, err)
}

func TestUnknownThings(t *testing.T) {
	host := serve(t, Config{Tools: testLayer(t)})
	for _, ref := range []string{"/tools:2", "/other:1", "/tools@sha256:" + strings.Repeat("0", 64)} {
		_, err := remote.Image(reference(t, host+ref))
		var terr *transport.Error
		require.ErrorAs(t, err, &terr, ref)
		require.Equal(t, http.StatusNotFound, terr.StatusCode)
		require.Equal(t, transport.ManifestUnknownErrorCode, terr.Errors[0].Code)
	}
	for path, status := range map[string]int{
		"/v2/": 200, "/v2/_catalog": 200, "/": 404, "/v2/tools/blobs/sha256:12": 404, "/v2/UP/manifests/1": 404,
		"/v2/none/tags/list": 404, "/v2/" + strings.Repeat("a", 600): 404, "/v2/a/../tools/manifests/1": 404,
	} {
		resp, err := http.Get("http://" + host + path)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, status, resp.StatusCode, path)
	}
}

func TestPushAndPullAfterRestart(t *testing.T) {
	dir := t.TempDir()
	host := serve(t, Config{Tools: testLayer(t), Dir: dir})
	img, err := random.Image(4096, 3)
	require.NoError(t, err)
	require.NoError(t, remote.Write(reference(t, host+"/team/app:v1"), img))

	again := serve(t, Config{Tools: testLayer(t), Dir: dir})
	got, err := remote.Image(reference(t, again+"/team/app:v1"))
	require.NoError(t, err)
	require.NoError(t, validate.Image(got))
	want, err := img.Digest()
	require.NoError(t, err)
	require.Equal(t, want, must(got.Digest()))
	repos, err := remote.Catalog(context.Background(), reference(t, again+"/x").Context().Registry)
	require.NoError(t, err)
	require.Equal(t, []string{"dns", "ingress", "pause", "team/app", "tools"}, repos)
	entries, err := os.ReadDir(dir + "/uploads")
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestPushIsRefused(t *testing.T) {
	img, err := random.Image(1<<20, 2)
	require.NoError(t, err)
	layer := testLayer(t)
	for _, tc := range []struct {
		name, repo, want string
		config           Config
	}{
		{"read-only", "/app:1", "read-only", Config{Tools: layer}},
		{"built in", "/tools:1", "built in", Config{Tools: layer, Dir: t.TempDir()}},
		{"full", "/app:1", "full", Config{Dir: t.TempDir(), MaxBytes: 1 << 20}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := remote.Write(reference(t, serve(t, tc.config)+tc.repo), img)
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestAFullRegistryForgetsWhatFailed(t *testing.T) {
	r, err := New(Config{Dir: t.TempDir(), MaxBytes: 3 << 20})
	require.NoError(t, err)
	_, err = r.disk.append(r.disk.path("uploads", "x"), bytes.NewReader(make([]byte, 4<<20)), true)
	require.ErrorIs(t, err, errFull)
	require.Zero(t, r.disk.used)
	require.NoFileExists(t, r.disk.path("uploads", "x"))
}

func TestManifestNeedsItsBlobs(t *testing.T) {
	host := serve(t, Config{Dir: t.TempDir()})
	for body, want := range map[string]string{
		"{": "MANIFEST_INVALID", `{"layers":[{"digest":"md5:1"}]}`: "MANIFEST_INVALID",
		`{"config":{"digest":"sha256:` + strings.Repeat("1", 64) + `"}}`: "MANIFEST_BLOB_UNKNOWN",
	} {
		req, err := http.NewRequest(http.MethodPut, "http://"+host+"/v2/app/manifests/1", strings.NewReader(body))
		require.NoError(t, err)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		require.NoError(t, err)
		require.Equal(t, http.StatusBadRequest, resp.StatusCode)
		require.Contains(t, string(text), want)
	}
}

func must(h v1.Hash, err error) v1.Hash {
	if err != nil {
		panic(err)
	}
	return h
}
