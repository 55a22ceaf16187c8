package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

// entry is a file of an archive; with link it is a symbolic link.
type entry struct{ name, content, link string }

func pack(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: 0o644, Size: int64(len(e.content)), Typeflag: tar.TypeReg}
		if e.link != "" {
			h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
		}
		require.NoError(t, w.WriteHeader(h))
		_, err := w.Write([]byte(e.content))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

func open(t *testing.T, data []byte) (*Archive, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image.tar")
	require.NoError(t, os.WriteFile(file, data, 0o600))
	a, err := Open(file)
	if err == nil {
		t.Cleanup(func() { require.NoError(t, a.Close()) })
	}
	return a, err
}

func sum(data string) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", sha256.Sum256([]byte(data)))}
}

func compressed(t *testing.T, data string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write([]byte(data))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.String()
}

func content(t *testing.T, b Blob) string {
	t.Helper()
	data, err := io.ReadAll(b.Open())
	require.NoError(t, err)
	require.Equal(t, b.Digest, sum(string(data)))
	require.Len(t, data, int(b.Size))
	return string(data)
}

func docker(t *testing.T) []byte {
	return pack(t,
		entry{name: "./aaa/layer.tar", content: "first layer"},
		entry{name: "bbb/layer.tar", link: "../aaa/layer.tar"},
		entry{name: "zip.tar", content: compressed(t, "second layer")},
		entry{name: "config.json", content: `{"os":"linux"}`},
		entry{name: "manifest.json", content: `[{"Config":"config.json","RepoTags":["a.io/x:1","y"],"Layers":["aaa/layer.tar","bbb/layer.tar","zip.tar"]}]`},
	)
}

func TestDockerArchive(t *testing.T) {
	plain := docker(t)
	z, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	for name, data := range map[string][]byte{
		"plain": plain, "gzip": []byte(compressed(t, string(plain))), "zstd": z.EncodeAll(plain, nil),
	} {
		t.Run(name, func(t *testing.T) {
			a, err := open(t, data)
			require.NoError(t, err)
			images, err := a.Images()
			require.NoError(t, err)
			require.Len(t, images, 1)
			require.Equal(t, []string{"a.io/x:1", "y"}, images[0].Names)
			var got []string
			for _, b := range images[0].Blobs {
				got = append(got, content(t, b))
			}
			require.Equal(t, []string{`{"os":"linux"}`, "first layer", "first layer", compressed(t, "second layer")}, got)
			m, err := v1.ParseManifest(bytes.NewReader(images[0].Manifest))
			require.NoError(t, err)
			require.Equal(t, sum(`{"os":"linux"}`), m.Config.Digest)
			require.Equal(t, types.OCIUncompressedLayer, m.Layers[1].MediaType)
			require.Equal(t, types.OCILayer, m.Layers[2].MediaType)
			require.Equal(t, sum("first layer"), m.Layers[1].Digest)
		})
	}
	leftovers, err := filepath.Glob(filepath.Join(os.TempDir(), "klab-image-*"))
	require.NoError(t, err)
	require.Empty(t, leftovers)
}

// layout makes an OCI image layout whose index has an index, in which this
// machine's image is the second.
func layout(t *testing.T, arch string) ([]byte, string) {
	var entries []entry
	add := func(data string, kind types.MediaType, p *v1.Platform) v1.Descriptor {
		d := v1.Descriptor{MediaType: kind, Digest: sum(data), Size: int64(len(data)), Platform: p}
		entries = append(entries, entry{name: blobPath(d.Digest), content: data})
		return d
	}
	marshal := func(v any) string {
		data, err := json.Marshal(v)
		require.NoError(t, err)
		return string(data)
	}
	image := func(p *v1.Platform) (v1.Descriptor, string) {
		m := marshal(v1.Manifest{
			SchemaVersion: 2, MediaType: types.OCIManifestSchema1,
			Config: add(`{"architecture":"`+p.Architecture+`"}`, types.OCIConfigJSON, nil),
			Layers: []v1.Descriptor{add("layer of "+p.Architecture, types.OCILayer, nil)},
		})
		return add(m, types.OCIManifestSchema1, p), m
	}
	other, _ := image(&v1.Platform{OS: "linux", Architecture: "pdp11"})
	mine, manifest := image(&v1.Platform{OS: "linux", Architecture: arch})
	inner := add(marshal(v1.IndexManifest{SchemaVersion: 2, Manifests: []v1.Descriptor{other, mine}}), types.OCIImageIndex, nil)
	inner.Annotations = map[string]string{refName: "1.0", containerdName: "a.io/x:1.0"}
	entries = append(entries, entry{name: "index.json", content: marshal(v1.IndexManifest{SchemaVersion: 2, Manifests: []v1.Descriptor{inner}})})
	return pack(t, entries...), manifest
}

func TestImageLayout(t *testing.T) {
	data, manifest := layout(t, runtime.GOARCH)
	a, err := open(t, data)
	require.NoError(t, err)
	images, err := a.Images()
	require.NoError(t, err)
	require.Len(t, images, 1)
	require.Equal(t, []string{"a.io/x:1.0"}, images[0].Names)
	require.Equal(t, manifest, string(images[0].Manifest))
	require.Equal(t, "layer of "+runtime.GOARCH, content(t, images[0].Blobs[1]))

	data, _ = layout(t, "vax")
	a, err = open(t, data)
	require.NoError(t, err)
	_, err = a.Images()
	require.ErrorContains(t, err, "no image for linux/"+runtime.GOARCH)
}

func TestWhatIsNoArchive(t *testing.T) {
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"empty":           {nil, "neither manifest.json"},
		"text":            {bytes.Repeat([]byte("no tar\n"), 200), "is no image archive"},
		"gzip of text":    {[]byte(compressed(t, string(bytes.Repeat([]byte("no tar\n"), 200)))), "is no image archive"},
		"half a gzip":     {[]byte(compressed(t, string(docker(t))))[:80], "unexpected EOF"},
		"cut short":       {docker(t)[:515], "is no image archive"},
		"other files":     {pack(t, entry{name: "README", content: "x"}), "neither manifest.json"},
		"layer missing":   {pack(t, entry{name: "c", content: "{}"}, entry{name: "manifest.json", content: `[{"Config":"c","Layers":["../../etc/passwd"]}]`}), "does not have it"},
		"links in circle": {pack(t, entry{name: "c", link: "d"}, entry{name: "d", link: "c"}, entry{name: "manifest.json", content: `[{"Config":"c"}]`}), "does not have it"},
		"no JSON":         {pack(t, entry{name: "manifest.json", content: `[{`}), "manifest.json"},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := open(t, c.data)
			if err == nil {
				_, err = a.Images()
			}
			require.ErrorContains(t, err, c.want)
		})
	}
	_, err := Open(t.TempDir())
	require.ErrorContains(t, err, "is a directory")
}
