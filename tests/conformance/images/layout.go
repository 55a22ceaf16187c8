package images

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// A layout is an image in OCI layout that grows in a directory.
type layout struct {
	dir     string
	layers  []v1.Descriptor
	diffs   []digest.Digest
	history []v1.History
}

func newLayout(dir string) *layout { return &layout{dir: dir} }

// addLayer writes a layer, compressed quickly rather than well.
func (l *layout) addLayer(name string, entries []entry) error {
	f, err := os.CreateTemp(l.dir, "layer-")
	if err != nil {
		return err
	}
	defer f.Close()
	blob, plain := sha256.New(), sha256.New()
	z, err := gzip.NewWriterLevel(io.MultiWriter(f, blob), gzip.BestSpeed)
	if err != nil {
		return err
	}
	if err := write(io.MultiWriter(z, plain), entries); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	d := v1.Descriptor{MediaType: v1.MediaTypeImageLayerGzip, Digest: sum(blob), Size: size}
	l.layers = append(l.layers, d)
	l.diffs = append(l.diffs, sum(plain))
	l.history = append(l.history, v1.History{CreatedBy: name})
	if err := os.MkdirAll(filepath.Dir(l.blob(d)), 0o755); err != nil {
		return err
	}
	return os.Rename(f.Name(), l.blob(d))
}

// finish writes the configuration, the manifest and the index, which has the
// manifest once for each name.
func (l *layout) finish(img Image) error {
	config, err := l.addJSON(v1.MediaTypeImageConfig, v1.Image{
		Platform: v1.Platform{OS: "linux", Architecture: runtime.GOARCH},
		Config: v1.ImageConfig{
			Env:  []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
			User: img.User, Entrypoint: img.Entrypoint, Cmd: img.Cmd,
		},
		RootFS:  v1.RootFS{Type: "layers", DiffIDs: l.diffs},
		History: l.history,
	})
	if err != nil {
		return err
	}
	manifest, err := l.addJSON(v1.MediaTypeImageManifest, v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, Config: config, Layers: l.layers,
	})
	if err != nil {
		return err
	}
	index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex}
	for _, name := range img.Names {
		named := manifest
		named.Platform = &v1.Platform{OS: "linux", Architecture: runtime.GOARCH}
		named.Annotations = map[string]string{v1.AnnotationRefName: name}
		index.Manifests = append(index.Manifests, named)
	}
	if err := l.writeJSON(v1.ImageIndexFile, index); err != nil {
		return err
	}
	return l.writeJSON(v1.ImageLayoutFile, v1.ImageLayout{Version: v1.ImageLayoutVersion})
}

// pack makes one tar of the directory.
func (l *layout) pack(file string) error {
	entries := []entry{
		{path: v1.ImageLayoutFile, src: filepath.Join(l.dir, v1.ImageLayoutFile), mode: 0o644},
		{path: v1.ImageIndexFile, src: filepath.Join(l.dir, v1.ImageIndexFile), mode: 0o644},
	}
	blobs, err := filepath.Glob(filepath.Join(l.dir, v1.ImageBlobsDir, "*", "*"))
	if err != nil {
		return err
	}
	slices.Sort(blobs)
	for _, blob := range blobs {
		in, err := filepath.Rel(l.dir, blob)
		if err != nil {
			return err
		}
		entries = append(entries, entry{path: in, src: blob, mode: 0o644})
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := write(f, entries); err != nil {
		return err
	}
	return f.Close()
}

func (l *layout) addJSON(media string, v any) (v1.Descriptor, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return v1.Descriptor{}, err
	}
	d := v1.Descriptor{MediaType: media, Digest: digest.FromBytes(b), Size: int64(len(b))}
	return d, os.WriteFile(l.blob(d), b, 0o644)
}

func (l *layout) writeJSON(name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(l.dir, name), b, 0o644)
}

func (l *layout) blob(d v1.Descriptor) string {
	return filepath.Join(l.dir, v1.ImageBlobsDir, d.Digest.Algorithm().String(), d.Digest.Encoded())
}

func sum(h hash.Hash) digest.Digest {
	return digest.Digest(fmt.Sprintf("sha256:%x", h.Sum(nil)))
}
