package registry

import (
	"encoding/json"
	"fmt"
	"runtime"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Host is the registry's name in image references: klab.local/tools:1.
const Host = "klab.local"

// Image is one of the built-in images, as blobs ready to be served.
type Image struct {
	Repository string // "tools"
	Tag        string // "1"
	Manifest   []byte
	Config     []byte
	Layer      []byte

	layerDigest v1.Hash // it is long: its digest is computed once for all images
}

// Reference is how a pod names the image.
func (i Image) Reference() string { return Host + "/" + i.Repository + ":" + i.Tag }

// Images makes the built-in images of a layer that [Pack] made: tools, pause,
// dns and ingress share it and differ in what they run. They are images of the machine
// that klab was built for, linux/GOARCH, and say so.
func Images(layer []byte) ([]Image, error) {
	diff, err := diffID(layer)
	if err != nil {
		return nil, err
	}
	path := []string{"PATH=/bin"}
	sum, err := v1.NewHash(digest(layer))
	if err != nil {
		return nil, err
	}
	build := func(name string, config v1.Config) (Image, error) {
		i := Image{Repository: name, Tag: "1", Layer: layer, layerDigest: sum}
		err := i.describe(diff, config)
		return i, err
	}
	tools, err := build("tools", v1.Config{Env: path, Cmd: []string{"sh"}, WorkingDir: "/"})
	if err != nil {
		return nil, err
	}
	pause, err := build("pause", v1.Config{
		Env: path, Entrypoint: []string{"/bin/pause"}, User: "65534:65534", WorkingDir: "/",
	})
	if err != nil {
		return nil, err
	}
	dns, err := build("dns", v1.Config{Env: path, Entrypoint: []string{"/bin/klab-dns"}, WorkingDir: "/"})
	if err != nil {
		return nil, err
	}
	ingress, err := build("ingress", v1.Config{Env: path, Entrypoint: []string{"/bin/klab-ingress"}, WorkingDir: "/"})
	if err != nil {
		return nil, err
	}
	return []Image{tools, pause, dns, ingress}, nil
}

// describe writes the image's configuration and manifest.
func (i *Image) describe(diff string, config v1.Config) error {
	diffHash, err := v1.NewHash(diff)
	if err != nil {
		return fmt.Errorf("image %s: %w", i.Repository, err)
	}
	i.Config, err = json.Marshal(v1.ConfigFile{
		Architecture: runtime.GOARCH, OS: "linux", Created: v1.Time{Time: time.Unix(0, 0).UTC()},
		Config: config, RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{diffHash}},
	})
	if err != nil {
		return fmt.Errorf("image %s: %w", i.Repository, err)
	}
	configHash, err := v1.NewHash(digest(i.Config))
	if err != nil {
		return fmt.Errorf("image %s: %w", i.Repository, err)
	}
	i.Manifest, err = json.Marshal(v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1,
		Config: v1.Descriptor{MediaType: types.OCIConfigJSON, Digest: configHash, Size: int64(len(i.Config))},
		Layers: []v1.Descriptor{{MediaType: types.OCILayer, Digest: i.layerDigest, Size: int64(len(i.Layer))}},
	})
	if err != nil {
		return fmt.Errorf("image %s: %w", i.Repository, err)
	}
	return nil
}
