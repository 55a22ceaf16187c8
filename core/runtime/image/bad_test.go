package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/core/step"
)

// rawLayer is a layer whose bytes and diff id are as a test says, right or not.
type rawLayer struct {
	v1.Layer
	diff v1.Hash
}

func (r rawLayer) DiffID() (v1.Hash, error) { return r.diff, nil }

func hashOf(t *testing.T, data []byte) v1.Hash {
	h, _, err := v1.SHA256(bytes.NewReader(data))
	require.NoError(t, err)
	return h
}

// pushRaw pushes an image of one layer: data as it is sent, plain as it is said
// to unpack to.
func pushRaw(t *testing.T, host, name string, data, plain []byte, options ...remote.Option) string {
	t.Helper()
	img, err := mutate.AppendLayers(empty.Image, rawLayer{static.NewLayer(data, types.OCILayer), hashOf(t, plain)})
	require.NoError(t, err)
	ref, err := Parse(host+"/"+name, nil)
	require.NoError(t, err)
	require.NoError(t, remote.Write(ref, img, options...))
	return ref.Name()
}

func zipped(t *testing.T, data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

// quiet is a registry on loopback; wrap may stand before it.
func quiet(t *testing.T, wrap func(http.Handler) http.Handler) string {
	h := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	if wrap != nil {
		h = wrap(h)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

// zeros is a tar with one file of so many zeros, made as it is read.
func zerosTar(size int64) io.Reader {
	r, w := io.Pipe()
	go func() {
		t := tar.NewWriter(w)
		_ = t.WriteHeader(&tar.Header{Name: "zeros", Mode: 0o600, Size: size, Typeflag: tar.TypeReg})
		block := make([]byte, 1<<20)
		for left := size; left > 0; left -= int64(len(block)) {
			_, _ = t.Write(block)
		}
		w.CloseWithError(t.Close())
	}()
	return r
}

// Every bad layer is refused with a sentence that says why, and nothing of it
// stays.
func TestBadLayersAreRefused(t *testing.T) {
	host := quiet(t, nil)
	good := archive(t, header{name: "a", content: strings.Repeat("text ", 1000)})
	var bomb bytes.Buffer
	w := gzip.NewWriter(&bomb)
	_, err := io.Copy(w, zerosTar(bombBytes+8<<20))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	zipGood := zipped(t, good)
	cases := map[string]struct {
		data, plain []byte
		want        string
	}{
		"dots":         {zipped(t, archive(t, header{name: "../evil", content: "x"})), nil, `a name with ".." leads out of the layer`},
		"through link": {zipped(t, archive(t, header{name: "l", kind: tar.TypeSymlink, link: "/"}, header{name: "l/evil", content: "x"})), nil, "path escapes from parent"},
		"hard link":    {zipped(t, archive(t, header{name: "h", kind: tar.TypeLink, link: "/etc/../../evil"})), nil, `a name with ".." leads out of the layer`},
		"long name":    {zipped(t, archive(t, header{name: strings.Repeat("d/", 4096) + "x", content: "x"})), nil, "longer than any path may be"},
		"bomb":         {bomb.Bytes(), nil, "decompression bomb"},
		"cut short":    {zipGood[:len(zipGood)/2], good, "unexpected EOF"},
		"other diff":   {zipGood, []byte("something else"), "the unpacked content has digest sha256:"},
		"no tar":       {zipped(t, bytes.Repeat([]byte("no tar "), 200)), nil, "invalid tar header"},
		"no gzip":      {[]byte("\x1f\x8bno gzip at all"), nil, "gzip: invalid header"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			ref := pushRaw(t, host, "bad:1", c.data, c.plain)
			root := t.TempDir()
			s := open(t, root, nil)
			_, err := s.Pull(context.Background(), ref, nil)
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, `failed to pull image "`+ref+`": `)
			require.Empty(t, layersOf(t, root))
			require.Empty(t, s.List())
			require.NoFileExists(t, filepath.Join(filepath.Dir(root), "evil"))
			require.NoFileExists(t, "/evil")
		})
	}
}

// Device files are left out: a container's come from its configuration.
func TestLayersMakeNoDevices(t *testing.T) {
	dir, err := unpack(t, header{name: "disk", kind: tar.TypeBlock}, header{name: "tty", kind: tar.TypeChar}, header{name: "pipe", kind: tar.TypeFifo})
	require.NoError(t, err)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestZstdLayer(t *testing.T) {
	plain := archive(t, header{name: "a", content: "by zstd"})
	z, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	ref := pushRaw(t, quiet(t, nil), "z:1", z.EncodeAll(plain, nil), plain)
	root := t.TempDir()
	s := open(t, root, nil)
	_, err = s.Pull(context.Background(), ref, nil)
	require.NoError(t, err)
	data, err := os.ReadFile(filepath.Join(root, "layers", layersOf(t, root)[0], "a"))
	require.NoError(t, err)
	require.Equal(t, "by zstd", string(data))
}

// On a disk that is full a pull fails and gives back what it took.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: a small file system is mounted")
	}
	root := t.TempDir()
	require.NoError(t, unix.Mount("tmpfs", root, "tmpfs", 0, "size=1m"))
	t.Cleanup(func() {
		require.Eventually(t, func() bool { return unix.Unmount(root, 0) == nil }, time.Minute, 10*time.Millisecond, "nothing is open in it")
	})
	host := quiet(t, nil)
	big, small := archive(t, header{name: "big", content: strings.Repeat("x", 2<<20)}), archive(t, header{name: "small", content: "x"})
	s := open(t, root, nil)
	_, err := s.Pull(context.Background(), pushRaw(t, host, "big:1", zipped(t, big), big), nil)
	require.ErrorContains(t, err, "no space left on device")
	require.Empty(t, layersOf(t, root))
	_, err = s.Pull(context.Background(), pushRaw(t, host, "small:1", zipped(t, small), small), nil)
	require.NoError(t, err)
}

// A registry that stops in the middle of a layer is given up by the clock.
func TestHungRegistry(t *testing.T) {
	hang := make(chan struct{})
	var layer string
	var size int
	host := quiet(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && layer != "" && strings.HasSuffix(r.URL.Path, layer) {
				w.Header().Set("Content-Length", fmt.Sprint(size))
				_, _ = w.Write([]byte("\x1f\x8b"))
				_ = http.NewResponseController(w).Flush()
				select {
				case <-hang:
				case <-r.Context().Done():
				}
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	t.Cleanup(func() { close(hang) })
	noise := archive(t, header{name: "a", content: "content"})
	ref := pushRaw(t, host, "slow:1", zipped(t, noise), noise)
	layer, size = hashOf(t, zipped(t, noise)).String(), len(zipped(t, noise))
	clock := step.NewClock(time.Now(), 0)
	root := t.TempDir()
	s := open(t, root, func(o *Options) { o.Clock = clock })
	failed := make(chan error, 1)
	go func() {
		_, err := s.Pull(context.Background(), ref, nil)
		failed <- err
	}()
	require.Eventually(t, func() bool { return len(clock.Upcoming()) > 0 }, time.Minute, time.Millisecond)
	for passed := false; !passed; {
		clock.AdvanceTo(clock.Since() + 6*time.Minute)
		select {
		case err := <-failed:
			require.ErrorContains(t, err, "the registry has stopped sending: nothing has arrived for 5m0s")
			passed = true
		case <-time.After(10 * time.Millisecond):
		}
	}
	require.Empty(t, layersOf(t, root))
}

// Private registries ask for a password, or for a token that one gets by it.
func TestPrivateRegistries(t *testing.T) {
	for _, kind := range []string{"Basic", "Bearer"} {
		t.Run(kind, func(t *testing.T) {
			var host string
			host = quiet(t, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					user, password, ok := r.BasicAuth()
					right := ok && user == "me" && password == "secret"
					switch {
					case r.URL.Path == "/token" && right:
						fmt.Fprint(w, `{"token":"let-me-in"}`)
					case kind == "Basic" && right, kind == "Bearer" && r.Header.Get("Authorization") == "Bearer let-me-in":
						next.ServeHTTP(w, r)
					default:
						w.Header().Set("WWW-Authenticate", fmt.Sprintf(`%s realm="http://%s/token",service="test"`, kind, host))
						http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
					}
				})
			})
			plain := archive(t, header{name: "a", content: "x"})
			me := authn.FromConfig(authn.AuthConfig{Username: "me", Password: "secret"})
			ref := pushRaw(t, host, "private:1", zipped(t, plain), plain, remote.WithAuth(me))
			s := open(t, t.TempDir(), nil)
			for _, auth := range []authn.Authenticator{nil, authn.FromConfig(authn.AuthConfig{Username: "you", Password: "guess"})} {
				_, err := s.Pull(context.Background(), ref, auth)
				require.ErrorContains(t, err, "UNAUTHORIZED: authentication required")
			}
			_, err := s.Pull(context.Background(), ref, me)
			require.NoError(t, err)
		})
	}
}

// layerOf makes a layer of bytes: each four are an entry's kind, its name of
// two parts, and where it leads if it is a link. Bytes of a tar would nearly
// all be refused for their checksums.
func layerOf(script []byte) []byte {
	kinds := []byte{tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink, tar.TypeChar, tar.TypeFifo, tar.TypeXGlobalHeader}
	parts := []string{"a", "b", "d", "..", ".", "", "l", ".wh.a", ".wh.d", ".wh..wh..opq", ".wh..", "/", "layer", "secret"}
	part := func(b byte) string { return parts[int(b)%len(parts)] }
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for ; len(script) >= 4; script = script[4:] {
		h := tar.Header{Typeflag: kinds[int(script[0])%len(kinds)], Name: part(script[1]) + "/" + part(script[2]), Mode: 0o755}
		switch h.Typeflag {
		case tar.TypeSymlink:
			h.Linkname = part(script[3]) + "/" + part(script[3]/16)
		case tar.TypeLink:
			h.Linkname = part(script[3]) + "/" + part(script[3]/16) + "/secret"
		case tar.TypeXGlobalHeader:
			h = tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: part(script[1]), PAXRecords: map[string]string{"path": part(script[2])}}
		}
		_ = w.WriteHeader(&h) // what cannot be written is no entry
	}
	_ = w.Close()
	return out.Bytes()
}

// No layer, whatever is in it, touches what is outside of its directory.
func FuzzUnpack(f *testing.F) {
	for _, script := range []string{"\x00\x00\x01\x00\x00\x00\x07\x00", "\x02\x06\x05\x03\x00\x06\x00\x00", "\x03\x00\x01\x03\x00\x03\x0d\x00", "\x01\x02\x05\x00\x00\x02\x09\x00\x02\x02\x05\x0b"} {
		f.Add([]byte(script))
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		if os.Getuid() != 0 {
			t.Skip("needs root: layers have owners")
		}
		outer := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(outer, "secret"), []byte("untouched"), 0o600))
		dir := filepath.Join(outer, "layer")
		require.NoError(t, os.Mkdir(dir, 0o755))
		root, err := os.OpenRoot(dir)
		require.NoError(t, err)
		defer root.Close()
		_ = Unpack(root, bytes.NewReader(layerOf(script))) // most are no layers
		entries, err := os.ReadDir(outer)
		require.NoError(t, err)
		require.Len(t, entries, 2)
		data, err := os.ReadFile(filepath.Join(outer, "secret"))
		require.NoError(t, err)
		require.Equal(t, "untouched", string(data))
		var st unix.Stat_t
		require.NoError(t, unix.Stat(filepath.Join(outer, "secret"), &st))
		require.EqualValues(t, 1, st.Nlink)
	})
}
