package registry

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/registry/archive"
)

func randomImage(t *testing.T) v1.Image {
	t.Helper()
	img, err := random.Image(1000, 2)
	require.NoError(t, err)
	return img
}

// load pushes an image by its file, as "klab image load" does.
func load(t *testing.T, c *Client, img v1.Image, as string) {
	t.Helper()
	tag, err := name.NewTag(as)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "image.tar")
	require.NoError(t, tarball.WriteToFile(file, tag, img))
	a, err := archive.Open(file)
	require.NoError(t, err)
	defer a.Close()
	images, err := a.Images()
	require.NoError(t, err)
	require.NoError(t, c.Push(context.Background(), tag, images[0]))
}

func blobsIn(t *testing.T, dir string) int {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "blobs"))
	require.NoError(t, err)
	return len(entries)
}

func names(t *testing.T, c *Client) []string {
	t.Helper()
	all, err := c.List(context.Background())
	require.NoError(t, err)
	var names []string
	for _, l := range all {
		require.NotZero(t, l.Size)
		names = append(names, l.Name)
	}
	return names
}

// An image that was loaded under the name that another registry has for it is
// pulled through the mirror as from there.
func TestLoadedUnderOfficialNames(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	host := serve(t, Config{Dir: dir, Tools: testLayer(t)})
	c := &Client{HTTP: http.DefaultClient, Base: "http://" + host}
	img := randomImage(t)
	for _, n := range []string{"registry.k8s.io/e2e/agnhost:2.59", "busybox", "localhost:5000/a/b:1", Host + "/mine:1"} {
		load(t, c, img, n)
		ref, err := name.ParseReference(n)
		require.NoError(t, err)
		got, err := remote.Image(ref, remote.WithTransport(Mirror(host, http.DefaultTransport)))
		require.NoError(t, err, n)
		require.NoError(t, validate.Image(got))
	}
	require.Equal(t, []string{
		"docker.io/library/busybox:latest", "klab.local/dns:1", "klab.local/ingress:1", "klab.local/mine:1", "klab.local/pause:1", "klab.local/tools:1",
		"localhost:5000/a/b:1", "registry.k8s.io/e2e/agnhost:2.59",
	}, names(t, c))
	_, err := remote.Get(reference(t, "elsewhere.io/e2e/agnhost:2.59"), remote.WithTransport(Mirror(host, http.DefaultTransport)))
	require.ErrorContains(t, err, "MANIFEST_UNKNOWN")

	// A new registry on the same directory has them still.
	require.Len(t, names(t, &Client{HTTP: http.DefaultClient, Base: "http://" + serve(t, Config{Dir: dir})}), 4)

	tag, err := name.NewTag("klab.local/tools:1")
	require.NoError(t, err)
	require.ErrorContains(t, c.Remove(ctx, tag), "is built in")
}

func TestRemovedImagesLeaveNothing(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	r, err := New(Config{Dir: dir})
	require.NoError(t, err)
	srv := httptest.NewServer(r)
	t.Cleanup(srv.Close)
	c := &Client{HTTP: http.DefaultClient, Base: srv.URL}
	one, two := randomImage(t), randomImage(t)
	load(t, c, one, "a.io/x:1")
	load(t, c, one, "a.io/x:2")
	load(t, c, two, "b.io/y:1")
	require.Equal(t, 8, blobsIn(t, dir)) // two layers, configuration, manifest; twice
	remove := func(n string) error { return c.Remove(ctx, reference(t, n)) }

	require.NoError(t, remove("a.io/x:1"))
	require.Equal(t, 8, blobsIn(t, dir))
	require.Equal(t, []string{"a.io/x:2", "b.io/y:1"}, names(t, c))

	// A blob that a push has brought but not named yet stays.
	blob := []byte("of a push under way")
	resp, err := http.Post(fmt.Sprintf("%s/v2/z/blobs/uploads/?digest=%s", srv.URL, digest(blob)), "", strings.NewReader(string(blob)))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusCreated, resp.StatusCode)
	require.NoError(t, remove("a.io/x:2"))
	require.Equal(t, 5, blobsIn(t, dir))
	require.NoError(t, remove("b.io/y:1"))
	require.Equal(t, 1, blobsIn(t, dir))
	require.Equal(t, int64(len(blob)), r.disk.used)
	require.Empty(t, names(t, c))
	require.ErrorContains(t, remove("b.io/y:1"), "no image b.io/y")
}

func TestNodesOnlyRead(t *testing.T) {
	r, err := New(Config{Dir: t.TempDir()})
	require.NoError(t, err)
	srv := httptest.NewServer(ReadOnly(r))
	t.Cleanup(srv.Close)
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		req, err := http.NewRequest(method, srv.URL+"/v2/x/blobs/uploads/", nil)
		require.NoError(t, err)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode, method)
	}
}

func TestKey(t *testing.T) {
	for host, want := range map[string]string{
		"": "a/b", Host: "a/b", "index.docker.io": "docker.io/a/b", "x.io:5000": "x.io:5000/a/b",
		"../..": "", "a/b": "", "UPPER.io": "", "x.io:port": "",
	} {
		require.Equal(t, want, key(host, "a/b"), host)
	}
}
