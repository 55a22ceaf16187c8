package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Image is one image of an archive, ready to be pushed.
type Image struct {
	Names     []string // as the archive has them; may be none
	MediaType types.MediaType
	Manifest  []byte
	Blobs     []Blob // the configuration and the layers
}

// Blob is a part of an image.
type Blob struct {
	Digest v1.Hash
	Size   int64
	open   func() io.Reader
}

// Open reads the blob from its beginning.
func (b Blob) Open() io.Reader { return b.open() }

// Images lists the archive's images for this machine's architecture.
func (a *Archive) Images() ([]Image, error) {
	switch {
	case a.has("manifest.json"):
		return a.dockerImages()
	case a.has("index.json"):
		return a.layoutImages()
	}
	return nil, errors.New("the archive has neither manifest.json (docker save) nor index.json (OCI image layout)")
}

// dockerImages reads a docker-archive. Its layers keep the bytes that they
// have, compressed or not; the manifest is made anew.
func (a *Archive) dockerImages() ([]Image, error) {
	var list []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := a.readJSON("manifest.json", &list); err != nil {
		return nil, err
	}
	var images []Image
	for _, entry := range list {
		config, err := a.read(entry.Config)
		if err != nil {
			return nil, err
		}
		m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Layers: []v1.Descriptor{}}
		image := Image{Names: entry.RepoTags, MediaType: m.MediaType}
		add := func(kind types.MediaType, r *io.SectionReader) (v1.Descriptor, error) {
			b, err := blob(r)
			image.Blobs = append(image.Blobs, b)
			return v1.Descriptor{MediaType: kind, Digest: b.Digest, Size: b.Size}, err
		}
		whole := bytes.NewReader(config)
		if m.Config, err = add(types.OCIConfigJSON, io.NewSectionReader(whole, 0, whole.Size())); err != nil {
			return nil, err
		}
		for _, name := range entry.Layers {
			r, err := a.open(name)
			if err != nil {
				return nil, err
			}
			d, err := add(layerType(r), r)
			if err != nil {
				return nil, err
			}
			m.Layers = append(m.Layers, d)
		}
		if image.Manifest, err = json.Marshal(m); err != nil {
			return nil, err
		}
		images = append(images, image)
	}
	return images, nil
}

func layerType(r *io.SectionReader) types.MediaType {
	magic := make([]byte, 4)
	_, _ = r.ReadAt(magic, 0) // too short for any of them: it is plain
	switch {
	case isGzip(magic):
		return types.OCILayer
	case isZstd(magic):
		return types.OCILayerZStd
	}
	return types.OCIUncompressedLayer
}

// blob describes a section of the archive by its content.
func blob(r *io.SectionReader) (Blob, error) {
	h := sha256.New()
	n, err := io.Copy(h, io.NewSectionReader(r, 0, r.Size()))
	if err != nil {
		return Blob{}, err
	}
	return Blob{
		Digest: v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", h.Sum(nil))}, Size: n,
		open: func() io.Reader { return io.NewSectionReader(r, 0, r.Size()) },
	}, nil
}

// The annotations by which tools name the images of a layout.
const (
	refName        = "org.opencontainers.image.ref.name"
	containerdName = "io.containerd.image.name"
)

// layoutImages reads an OCI image layout. Manifests keep their bytes, and so
// their digests.
func (a *Archive) layoutImages() ([]Image, error) {
	var index v1.IndexManifest
	if err := a.readJSON("index.json", &index); err != nil {
		return nil, err
	}
	var images []Image
	for _, d := range index.Manifests {
		var names []string
		for _, key := range []string{containerdName, refName} {
			if n := d.Annotations[key]; n != "" {
				names = append(names, n)
				break
			}
		}
		image, err := a.layoutImage(d, 0)
		if err != nil {
			return nil, err
		}
		if image != nil {
			image.Names = names
			images = append(images, *image)
		}
	}
	if len(images) == 0 {
		return nil, fmt.Errorf("the archive has no image for linux/%s", runtime.GOARCH)
	}
	return images, nil
}

// layoutImage is the image that d describes, or nil if it is of another
// platform. An index stands for its image of this machine's.
func (a *Archive) layoutImage(d v1.Descriptor, depth int) (*Image, error) {
	if p := d.Platform; p != nil && (p.OS != "linux" || p.Architecture != runtime.GOARCH) {
		return nil, nil
	}
	data, err := a.read(blobPath(d.Digest))
	if err != nil {
		return nil, err
	}
	if !d.MediaType.IsIndex() {
		return a.manifest(d, data)
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, fmt.Errorf("index %s: %w", d.Digest, err)
	}
	for _, child := range index.Manifests {
		if depth > 3 {
			return nil, errors.New("its indexes are nested too deeply")
		}
		if image, err := a.layoutImage(child, depth+1); image != nil || err != nil {
			return image, err
		}
	}
	return nil, nil
}

func (a *Archive) manifest(d v1.Descriptor, data []byte) (*Image, error) {
	var m v1.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("manifest %s: %w", d.Digest, err)
	}
	image := &Image{MediaType: d.MediaType, Manifest: data}
	for _, part := range append([]v1.Descriptor{m.Config}, m.Layers...) {
		r, err := a.open(blobPath(part.Digest))
		if err != nil {
			return nil, err
		}
		image.Blobs = append(image.Blobs, Blob{
			Digest: part.Digest, Size: r.Size(),
			open: func() io.Reader { return io.NewSectionReader(r, 0, r.Size()) },
		})
	}
	return image, nil
}

func blobPath(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }
