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
}

// Reference is how a pod names the image.
func (i Image) Reference() string { return Host + "/" + i.Repository + ":" + i.Tag }

// Images makes the built-in images of a layer that [Pack] made: tools and
// pause share it and differ in what they run. They are images of the machine
// that klab was built for, linux/GOARCH, and say so.
func Images(layer []byte) ([]Image, error) {
	diff, err := diffID(layer)
	if err != nil {
		return nil, err
	}
	path := []string{"PATH=/bin"}
	tools, err := image("tools", diff, layer, v1.Config{Env: path, Cmd: []string{"sh"}, WorkingDir: "/"})
	if err != nil {
		return nil, err
	}
	pause, err := image("pause", diff, layer, v1.Config{
		Env: path, Entrypoint: []string{"/bin/pause"}, User: "65534:65534", WorkingDir: "/",
	})
	if err != nil {
		return nil, err
	}
	return []Image{tools, pause}, nil
}

func image(name, diff string, layer []byte, config v1.Config) (Image, error) {
	diffHash, err := v1.NewHash(diff)
	if err != nil {
		return Image{}, fmt.Errorf("image %s: %w", name, err)
	}
	layerHash, err := v1.NewHash(digest(layer))
	if err != nil {
		return Image{}, fmt.Errorf("image %s: %w", name, err)
	}
	configJSON, err := json.Marshal(v1.ConfigFile{
		Architecture: runtime.GOARCH, OS: "linux", Created: v1.Time{Time: time.Unix(0, 0).UTC()},
		Config: config, RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{diffHash}},
	})
	if err != nil {
		return Image{}, fmt.Errorf("image %s: %w", name, err)
	}
	configHash, err := v1.NewHash(digest(configJSON))
	if err != nil {
		return Image{}, fmt.Errorf("image %s: %w", name, err)
	}
	manifest, err := json.Marshal(v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1,
		Config: v1.Descriptor{MediaType: types.OCIConfigJSON, Digest: configHash, Size: int64(len(configJSON))},
		Layers: []v1.Descriptor{{MediaType: types.OCILayer, Digest: layerHash, Size: int64(len(layer))}},
	})
	if err != nil {
		return Image{}, fmt.Errorf("image %s: %w", name, err)
	}
	return Image{Repository: name, Tag: "1", Manifest: manifest, Config: configJSON, Layer: layer}, nil
}
