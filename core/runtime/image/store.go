// Package image is a node's images: pulled over HTTP from any registry of the
// OCI distribution specification, each layer unpacked once, to be lower
// directories of overlay file systems. Start at [Open]; the nouns are Store
// and Image.
//
// On disk, under the store's root: images.json, the list; layers/ID, one
// directory per layer, complete if it exists; layers/.new-*, work that was
// interrupted, removed by Open.
package image

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/singleflight"

	"github.com/klab-project/klab/core/step"
)

// Errors are contracts.
var (
	ErrNotFound    = errors.New("image not found")
	ErrInvalidName = errors.New("InvalidImageName")
)

// Image is one that was pulled.
type Image struct {
	ID      string    `json:"id"`      // digest of its configuration, sha256:…
	Tags    []string  `json:"tags"`    // docker.io/library/nginx:latest
	Digests []string  `json:"digests"` // docker.io/library/nginx@sha256:…
	Size    int64     `json:"size"`    // compressed, bytes
	Layers  []string  `json:"layers"`  // names under layers/, lowest first
	Config  v1.Config `json:"config"`
}

// Options say how a store pulls.
type Options struct {
	Root      string
	Transport http.RoundTripper      // default http.DefaultTransport
	Mirror    http.RoundTripper      // if any, asked before the registry itself
	Insecure  func(host string) bool // registries asked by plain http
	MaxBytes  int64                  // what one image may unpack to; default 16 GiB
	Stall     time.Duration          // how long a registry may send nothing; default 5 minutes
	Clock     *step.Clock            // of Stall; default real time
}

// Store is the images of a node.
type Store struct {
	o       Options
	ctx     context.Context
	close   context.CancelFunc
	pulls   singleflight.Group
	unpacks singleflight.Group
	work    sync.WaitGroup

	mu     sync.Mutex
	images map[string]*Image // by ID; an Image in it does not change
	active int               // pulls under way
}

// Open reads the list of images and removes interrupted work.
func Open(o Options) (*Store, error) {
	if o.Transport == nil {
		o.Transport = http.DefaultTransport
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 16 << 30
	}
	if o.Stall == 0 {
		o.Stall = 5 * time.Minute
	}
	if o.Clock == nil {
		o.Clock = step.NewClock(time.Now(), 0)
	}
	s := &Store{o: o, images: map[string]*Image{}}
	s.ctx, s.close = context.WithCancel(context.Background())
	if err := os.MkdirAll(s.layerDir(""), 0o711); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(s.listFile())
	if err == nil {
		err = json.Unmarshal(data, &s.images)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	leftovers, err := filepath.Glob(s.layerDir(".new-*"))
	for _, dir := range leftovers {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return s, err
}

// Close ends pulls under way and waits for them.
func (s *Store) Close() {
	s.close()
	s.work.Wait()
}

func (s *Store) layerDir(id string) string { return filepath.Join(s.o.Root, "layers", id) }
func (s *Store) listFile() string          { return filepath.Join(s.o.Root, "images.json") }

// Lower are the directories of an image's layers, topmost first, as overlayfs
// wants them.
func (s *Store) Lower(img *Image) []string {
	dirs := make([]string, 0, len(img.Layers))
	for _, l := range slices.Backward(img.Layers) {
		dirs = append(dirs, s.layerDir(l))
	}
	return dirs
}

// List has all images.
func (s *Store) List() []*Image {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*Image, 0, len(s.images))
	for _, img := range s.images {
		all = append(all, img)
	}
	slices.SortFunc(all, func(a, b *Image) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// Find looks an image up by reference, by id, or by a part of the id that is
// at least 12 digits long.
func (s *Store) Find(ref string) (*Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.find(ref)
}

func (s *Store) find(ref string) (*Image, error) {
	hex := strings.TrimPrefix(ref, "sha256:")
	for id, img := range s.images {
		if len(hex) >= 12 && strings.HasPrefix(strings.TrimPrefix(id, "sha256:"), hex) {
			return img, nil
		}
	}
	parsed, err := Parse(ref, nil)
	if err != nil {
		return nil, err
	}
	want := display(parsed.Name())
	for _, img := range s.images {
		if slices.Contains(img.Tags, want) || slices.Contains(img.Digests, want) {
			return img, nil
		}
	}
	return nil, ErrNotFound
}

// add puts a pulled image into the list and takes its tag from any other.
func (s *Store) add(img Image, ref name.Reference, digest v1.Hash) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.images[img.ID]; old != nil {
		img.Tags, img.Digests = slices.Clone(old.Tags), slices.Clone(old.Digests)
	}
	img.Digests = with(img.Digests, display(ref.Context().Digest(digest.String()).Name()))
	if tag, ok := ref.(name.Tag); ok {
		for id, other := range s.images {
			if slices.Contains(other.Tags, display(tag.Name())) {
				changed := *other
				changed.Tags = without(other.Tags, display(tag.Name()))
				s.images[id] = &changed
			}
		}
		img.Tags = with(img.Tags, display(tag.Name()))
	}
	s.images[img.ID] = &img
	return s.save()
}

func with(list []string, item string) []string {
	if slices.Contains(list, item) {
		return list
	}
	return append(list, item)
}

func without(list []string, item string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == item })
}

func (s *Store) save() error {
	data, err := json.Marshal(s.images)
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.listFile()+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(s.listFile()+".new", s.listFile())
}

// Remove forgets an image and removes its layers, except those that other
// images have and those that used reports: they go with a later Remove.
func (s *Store) Remove(ref string, used func(layer string) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	img, err := s.find(ref)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	delete(s.images, img.ID)
	if err := s.save(); err != nil {
		return err
	}
	return s.sweep(used)
}

// sweep removes the layers that nobody needs. A pull under way keeps all: its
// layers belong to no image yet.
func (s *Store) sweep(used func(layer string) bool) error {
	entries, err := os.ReadDir(s.layerDir(""))
	if err != nil || s.pulling() {
		return err
	}
	needed := map[string]bool{}
	for _, img := range s.images {
		for _, l := range img.Layers {
			needed[l] = true
		}
	}
	for _, e := range entries {
		if !needed[e.Name()] && !used(e.Name()) {
			err = errors.Join(err, os.RemoveAll(s.layerDir(e.Name())))
		}
	}
	return err
}

// OpenFile opens a file as the image's topmost layer that has it shows it.
func (s *Store) OpenFile(img *Image, path string) (io.ReadCloser, error) {
	for _, dir := range s.Lower(img) {
		root, err := os.OpenRoot(dir)
		if err != nil {
			return nil, err
		}
		f, err := root.Open(path)
		root.Close()
		if err != nil {
			continue
		}
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			return f, nil
		}
		f.Close()
		return nil, fs.ErrNotExist
	}
	return nil, fs.ErrNotExist
}
