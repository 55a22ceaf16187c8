package images

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

func TestNamesAreTheSuites(t *testing.T) {
	names := map[string]bool{}
	for _, img := range All() {
		for _, name := range img.Names {
			require.False(t, names[name], "%s twice", name)
			names[name] = true
			require.True(t, strings.HasPrefix(name, "registry.k8s.io/"), name)
		}
	}
	require.Contains(t, names, "registry.k8s.io/e2e-test-images/agnhost:2.59")
	require.Contains(t, names, "registry.k8s.io/e2e-test-images/busybox:1.37.0-1")
	require.Contains(t, names, "registry.k8s.io/pause:3.10.1")
}

// A built image is an OCI layout: its index has every name, and each blob is
// what its digest says.
func TestBuild(t *testing.T) {
	dir := t.TempDir()
	b := &Builder{dir: dir, compiled: map[string]string{}, packages: debian{dir: dir}}
	img := Image{
		File: "small", Names: []string{"example.org/small:1", "example.org/small:2"}, Cmd: []string{"/hello"}, User: "7",
		Layers: []Layer{{Name: "one", Texts: map[string]string{"etc/hello": "hello\n"}, Dirs: []string{"tmp"}, Links: map[string]string{"hi": "etc/hello"}}},
	}
	file, err := b.Build(t.Context(), img)
	require.NoError(t, err)
	files := readTar(t, file)
	var index v1.Index
	require.NoError(t, json.Unmarshal(files["index.json"], &index))
	require.Len(t, index.Manifests, 2)
	for i, m := range index.Manifests {
		require.Equal(t, img.Names[i], m.Annotations[v1.AnnotationRefName])
	}
	var manifest v1.Manifest
	require.NoError(t, json.Unmarshal(blob(t, files, index.Manifests[0]), &manifest))
	var config v1.Image
	require.NoError(t, json.Unmarshal(blob(t, files, manifest.Config), &config))
	require.Equal(t, "7", config.Config.User)
	require.Equal(t, []string{"/hello"}, config.Config.Cmd)
	require.Len(t, config.RootFS.DiffIDs, 1)
	blob(t, files, manifest.Layers[0])

	require.NoError(t, os.Rename(file, file+".1"))
	again, err := b.Build(t.Context(), img)
	require.NoError(t, err)
	require.Equal(t, file, again)
	require.Equal(t, files, readTar(t, again), "the same recipe makes the same image")
}

func blob(t *testing.T, files map[string][]byte, d v1.Descriptor) []byte {
	t.Helper()
	b, ok := files["blobs/sha256/"+d.Digest.Encoded()]
	require.True(t, ok, d.Digest)
	require.Equal(t, d.Digest, d.Digest.Algorithm().FromBytes(b))
	require.Len(t, b, int(d.Size))
	return b
}

func readTar(t *testing.T, file string) map[string][]byte {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	files := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files
		}
		require.NoError(t, err)
		files[h.Name], err = io.ReadAll(r)
		require.NoError(t, err)
	}
}

// The machine's own programs stand for a package's.
func TestLibrariesAreFoundThroughLibraries(t *testing.T) {
	shell, err := filepath.EvalSymlinks("/bin/bash")
	require.NoError(t, err)
	libs, err := libraries("/", []string{shell})
	require.NoError(t, err)
	found := strings.Join(libs, " ")
	require.Contains(t, found, "libc.so.6")
	require.Contains(t, found, "ld-linux")
	_, err = libraries("/", []string{"/etc/passwd"})
	require.ErrorContains(t, err, "is no program")
}

func TestUsr(t *testing.T) {
	for p, want := range map[string]string{
		"bin/bash": "usr/bin/bash", "sbin/ip": "usr/bin/ip", "usr/sbin/nginx": "usr/bin/nginx", "lib/x/libc.so.6": "usr/lib/x/libc.so.6",
		"usr/bin/dig": "usr/bin/dig", "etc/passwd": "etc/passwd", "lib64/ld.so": "usr/lib64/ld.so",
	} {
		require.Equal(t, want, usr(p), p)
	}
}
