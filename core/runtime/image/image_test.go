package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestParse(t *testing.T) {
	for ref, want := range map[string]string{
		"nginx":                      "docker.io/library/nginx:latest",
		"nginx:1":                    "docker.io/library/nginx:1",
		"user/app":                   "docker.io/user/app:latest",
		"klab.local/tools:1":         "klab.local/tools:1",
		"localhost:5000/a/b":         "localhost:5000/a/b:latest",
		"registry.k8s.io/pause:3":    "registry.k8s.io/pause:3",
		"docker.io/library/a:b":      "docker.io/library/a:b",
		"a@sha256:" + zeros():        "docker.io/library/a@sha256:" + zeros(),
		"x.io/a:1@sha256:" + zeros(): "x.io/a@sha256:" + zeros(),
	} {
		got, err := Parse(ref, nil)
		require.NoError(t, err, ref)
		require.Equal(t, want, display(got.Name()), ref)
	}
	for _, bad := range []string{"", "UPPER", "a b", "a:b:c", "a@sha256:1", "/a", "a/:1"} {
		_, err := Parse(bad, nil)
		require.ErrorIs(t, err, ErrInvalidName, bad)
	}
}

func zeros() string { return strings.Repeat("0", 64) }

// header is a tar entry in short.
type header struct {
	name, link, content string
	kind                byte
	mode                int64
	xattr               string
}

func archive(t *testing.T, entries ...header) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Linkname: e.link, Typeflag: e.kind, Mode: e.mode, Size: int64(len(e.content)), Format: tar.FormatPAX}
		if e.kind == 0 {
			h.Typeflag = tar.TypeReg
			if strings.HasSuffix(e.name, "/") {
				h.Typeflag = tar.TypeDir
			}
		}
		if e.mode == 0 {
			h.Mode = 0o755
		}
		if e.xattr != "" {
			h.PAXRecords = map[string]string{"SCHILY.xattr.user.k": e.xattr}
		}
		require.NoError(t, w.WriteHeader(h))
		_, err := w.Write([]byte(e.content))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

func unpack(t *testing.T, entries ...header) (string, error) {
	if os.Getuid() != 0 {
		t.Skip("owners and whiteouts need root")
	}
	outer := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outer, "secret"), []byte("untouched"), 0o600))
	dir := filepath.Join(outer, "layer")
	require.NoError(t, os.Mkdir(dir, 0o755))
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()
	err = Unpack(root, bytes.NewReader(archive(t, entries...)))
	data, readErr := os.ReadFile(filepath.Join(outer, "secret"))
	require.NoError(t, readErr)
	require.Equal(t, "untouched", string(data))
	all, readErr := os.ReadDir(outer)
	require.NoError(t, readErr)
	require.Len(t, all, 2, "something was written outside")
	return dir, err
}

func TestUnpack(t *testing.T) {
	dir, err := unpack(t,
		header{name: "a/b/file", content: "x", mode: 0o4755},
		header{name: "./d/", mode: 0o1777},
		header{name: "d/hard", kind: tar.TypeLink, link: "a/b/file"},
		header{name: "abs", kind: tar.TypeSymlink, link: "/etc/passwd"},
		header{name: "dev/null", kind: tar.TypeChar},
		header{name: "a/.wh.gone", content: ""},
		header{name: "d/.wh..wh..opq"},
		header{name: "twice", content: "1"}, header{name: "twice", content: "2", xattr: "v"},
		header{name: "was-dir/x", content: "1"}, header{name: "was-dir", content: "now a file"},
	)
	require.NoError(t, err)
	info, err := os.Stat(filepath.Join(dir, "a/b/file"))
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&os.ModeSetuid)
	hard, err := os.Stat(filepath.Join(dir, "d/hard"))
	require.NoError(t, err)
	require.True(t, os.SameFile(info, hard))
	link, err := os.Readlink(filepath.Join(dir, "abs"))
	require.NoError(t, err)
	require.Equal(t, "/etc/passwd", link)
	require.NoFileExists(t, filepath.Join(dir, "dev/null"))
	var st unix.Stat_t
	require.NoError(t, unix.Lstat(filepath.Join(dir, "a/gone"), &st))
	require.Equal(t, uint32(unix.S_IFCHR), st.Mode&unix.S_IFMT)
	require.Zero(t, st.Rdev)
	value := make([]byte, 8)
	n, err := unix.Getxattr(filepath.Join(dir, "d"), "trusted.overlay.opaque", value)
	require.NoError(t, err)
	require.Equal(t, "y", string(value[:n]))
	data, err := os.ReadFile(filepath.Join(dir, "twice"))
	require.NoError(t, err)
	require.Equal(t, "2", string(data))
	data, err = os.ReadFile(filepath.Join(dir, "was-dir"))
	require.NoError(t, err)
	require.Equal(t, "now a file", string(data))
}

func TestUnpackRefusesToLeave(t *testing.T) {
	for name, entries := range map[string][]header{
		"dots":              {{name: "../secret", content: "evil"}},
		"dots inside":       {{name: "a/../../secret", content: "evil"}},
		"absolute symlink":  {{name: "l", kind: tar.TypeSymlink, link: "/tmp"}, {name: "l/evil", content: "x"}},
		"relative symlink":  {{name: "l", kind: tar.TypeSymlink, link: ".."}, {name: "l/secret", content: "x"}},
		"hard link out":     {{name: "h", kind: tar.TypeLink, link: "../secret"}},
		"link through link": {{name: "l", kind: tar.TypeSymlink, link: ".."}, {name: "h", kind: tar.TypeLink, link: "l/secret"}},
		"whiteout out":      {{name: ".wh..."}, {name: "l", kind: tar.TypeSymlink, link: ".."}, {name: "l/.wh.secret"}},
		"whiteout of dots":  {{name: "a/"}, {name: "a/.wh..."}, {name: "a/.wh.."}},
	} {
		_, err := unpack(t, entries...)
		require.Error(t, err, name)
	}
	// A file in place of a link does not go through the link.
	dir, err := unpack(t, header{name: "l", kind: tar.TypeSymlink, link: "../secret"}, header{name: "l", content: "mine"})
	require.NoError(t, err)
	info, err := os.Lstat(filepath.Join(dir, "l"))
	require.NoError(t, err)
	require.True(t, info.Mode().IsRegular())
}

// fakeRegistry counts what is asked of a real one.
type fakeRegistry struct {
	*httptest.Server
	blobs sync.Map    // how often each was asked for, an *atomic.Int64 by path
	spoil atomic.Bool // change the bytes of blobs
	hold  chan struct{}
}

func newRegistry(t *testing.T) *fakeRegistry {
	f := &fakeRegistry{}
	real := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			n, _ := f.blobs.LoadOrStore(r.URL.Path, new(atomic.Int64))
			n.(*atomic.Int64).Add(1)
			if f.hold != nil {
				<-f.hold
			}
			if f.spoil.Load() {
				recorder := httptest.NewRecorder()
				real.ServeHTTP(recorder, r)
				body := recorder.Body.Bytes()
				body[len(body)/2] ^= 0xff
				w.Write(body)
				return
			}
		}
		real.ServeHTTP(w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *fakeRegistry) push(t *testing.T, repo string, layers ...[]byte) string {
	img := empty.Image
	for _, content := range layers {
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil })
		require.NoError(t, err)
		img, err = mutate.AppendLayers(img, layer)
		require.NoError(t, err)
	}
	img, err := mutate.Config(img, v1.Config{Cmd: []string{repo}})
	require.NoError(t, err)
	ref, err := name.ParseReference(strings.TrimPrefix(f.URL, "http://") + "/" + repo)
	require.NoError(t, err)
	require.NoError(t, remote.Write(ref, img))
	return ref.Name()
}

func open(t *testing.T, root string, change func(*Options)) *Store {
	if os.Getuid() != 0 {
		t.Skip("owners of files need root")
	}
	o := Options{Root: root}
	if change != nil {
		change(&o)
	}
	s, err := Open(o)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

func layersOf(t *testing.T, root string) []string {
	entries, err := os.ReadDir(filepath.Join(root, "layers"))
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func never(string) bool { return false }

func TestPullAndRemove(t *testing.T) {
	f, root := newRegistry(t), t.TempDir()
	base, top := archive(t, header{name: "etc/a", content: "base"}), archive(t, header{name: "etc/a", content: "top"}, header{name: "etc/b", content: "b"})
	one, two := f.push(t, "one:1", base), f.push(t, "two:1", base, top)
	s := open(t, root, nil)
	first, err := s.Pull(context.Background(), one, nil)
	require.NoError(t, err)
	second, err := s.Pull(context.Background(), two, nil)
	require.NoError(t, err)
	require.Len(t, layersOf(t, root), 2, "the shared layer is unpacked once")

	for _, ref := range []string{two, second.ID, strings.TrimPrefix(second.ID, "sha256:")[:12]} {
		img, err := s.Find(ref)
		require.NoError(t, err, ref)
		require.Equal(t, []string{two}, img.Tags)
	}
	img, err := s.Find(two)
	require.NoError(t, err)
	r, err := s.OpenFile(img, "etc/a")
	require.NoError(t, err)
	data, err := io.ReadAll(r)
	require.NoError(t, errors.Join(err, r.Close()))
	require.Equal(t, "top", string(data))

	again := open(t, root, nil)
	require.Len(t, again.List(), 2, "the list is on disk")
	require.NoError(t, again.Remove(two, never))
	require.NoError(t, again.Remove(two, never), "may be repeated")
	require.Len(t, layersOf(t, root), 1)
	require.NoError(t, again.Remove(first.ID, func(string) bool { return true }))
	require.Len(t, layersOf(t, root), 1, "a layer in use stays")
}

func TestTagMoves(t *testing.T) {
	f := newRegistry(t)
	ref := f.push(t, "app:1", archive(t, header{name: "v", content: "1"}))
	s := open(t, t.TempDir(), nil)
	old, err := s.Pull(context.Background(), ref, nil)
	require.NoError(t, err)
	f.push(t, "app:1", archive(t, header{name: "v", content: "2"}))
	next, err := s.Pull(context.Background(), ref, nil)
	require.NoError(t, err)
	require.NotEqual(t, old.ID, next.ID)
	img, err := s.Find(ref)
	require.NoError(t, err)
	require.Equal(t, next.ID, img.ID)
	img, err = s.Find(old.ID)
	require.NoError(t, err)
	require.Empty(t, img.Tags)
}

func TestConcurrentPullsAreOne(t *testing.T) {
	f, root := newRegistry(t), t.TempDir()
	ref := f.push(t, "app:1", archive(t, header{name: "v", content: "1"}))
	f.hold = make(chan struct{})
	s := open(t, root, nil)
	var wait sync.WaitGroup
	errs := make(chan error, 8)
	for range 8 {
		wait.Go(func() {
			_, err := s.Pull(context.Background(), ref, nil)
			errs <- err
		})
	}
	gaveUp, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := s.Pull(gaveUp, ref, nil)
	require.ErrorIs(t, err, context.Canceled)
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.active == 9
	}, time.Minute, time.Millisecond, "all are there before there is anything to get")
	close(f.hold)
	wait.Wait()
	for range 8 {
		require.NoError(t, <-errs)
	}
	var asked []int64
	f.blobs.Range(func(_, n any) bool {
		asked = append(asked, n.(*atomic.Int64).Load())
		return true
	})
	slices.Sort(asked)
	require.Len(t, asked, 2)
	require.EqualValues(t, 1, asked[0], "the layer is fetched once; the configuration again by whoever comes when the first has just ended")
	require.Less(t, asked[1], int64(8))
}

func TestBadContent(t *testing.T) {
	f, root := newRegistry(t), t.TempDir()
	noise := make([]byte, 100_000)
	for i := range noise {
		noise[i] = byte(i * i >> 3)
	}
	ref := f.push(t, "app:1", archive(t, header{name: "v", content: string(noise)}))
	s := open(t, root, nil)
	f.spoil.Store(true)
	_, err := s.Pull(context.Background(), ref, nil)
	require.Error(t, err)
	require.Empty(t, layersOf(t, root), "nothing is left of a bad layer")
	require.Empty(t, s.List())
	f.spoil.Store(false)
	_, err = s.Pull(context.Background(), ref, nil)
	require.NoError(t, err)
}

func TestBomb(t *testing.T) {
	f, root := newRegistry(t), t.TempDir()
	ref := f.push(t, "bomb:1", archive(t, header{name: "zeros", content: string(make([]byte, 8<<20))}))
	s := open(t, root, func(o *Options) { o.MaxBytes = 1 << 20 })
	_, err := s.Pull(context.Background(), ref, nil)
	require.ErrorContains(t, err, "unpacks to more than 1048576 bytes")
	require.Empty(t, layersOf(t, root))
}

func TestInterruptedWorkGoes(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(root, "layers", ".new-1", "x"), 0o755))
	open(t, root, nil)
	require.Empty(t, layersOf(t, root))
}

func TestPlainHTTPOnlyWhereAllowed(t *testing.T) {
	var asked []string
	p := plainOnly{
		next: roundTrip(func(r *http.Request) (*http.Response, error) {
			asked = append(asked, r.URL.String())
			return nil, errors.New("offline")
		}),
		insecure: func(host string) bool { return host == "klab.local" },
	}
	for _, url := range []string{"http://klab.local/v2/", "https://klab.local/v2/", "http://10.0.0.1/v2/", "https://docker.io/v2/", "http://127.0.0.1:5/v2/"} {
		req, err := http.NewRequest(http.MethodGet, url, nil)
		require.NoError(t, err)
		_, err = p.RoundTrip(req)
		require.Error(t, err)
	}
	require.Equal(t, []string{"http://klab.local/v2/", "https://docker.io/v2/", "http://127.0.0.1:5/v2/"}, asked)
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestDecompress(t *testing.T) {
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	w.Write([]byte("hello"))
	w.Close()
	for _, data := range [][]byte{zipped.Bytes(), []byte("hello")} {
		r, err := decompress(bytes.NewReader(data))
		require.NoError(t, err)
		got, err := io.ReadAll(r)
		require.NoError(t, err)
		require.Equal(t, "hello", string(got))
	}
}
