package image

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sync/errgroup"
)

// parallelLayers is how many layers of an image are fetched at once.
const parallelLayers = 3

// Pulled is what came of a pull.
type Pulled struct {
	ID    string
	Bytes int64 // fetched; layers that were there already are not counted
}

// Pull fetches an image. Calls for the same reference with the same
// credentials share one pull, which goes on when a caller gives up.
func (s *Store) Pull(ctx context.Context, ref string, auth authn.Authenticator) (Pulled, error) {
	parsed, err := Parse(ref, s.o.Insecure)
	if err != nil {
		return Pulled{}, err
	}
	s.mu.Lock()
	s.work.Add(1)
	s.active++
	s.mu.Unlock()
	result := s.pulls.DoChan(fmt.Sprint(parsed.Name(), " ", who(auth)), func() (any, error) {
		return s.pull(s.ctx, parsed, auth)
	})
	done := make(chan singleflightResult, 1)
	go func() {
		r := <-result
		s.mu.Lock()
		s.active--
		s.mu.Unlock()
		s.work.Done()
		done <- singleflightResult{r.Val, r.Err}
	}()
	select {
	case <-ctx.Done():
		return Pulled{}, ctx.Err()
	case r := <-done:
		if r.err != nil {
			return Pulled{}, fmt.Errorf("failed to pull image %q: %w", display(parsed.Name()), r.err)
		}
		return r.value.(Pulled), nil
	}
}

// who tells credentials apart.
func who(auth authn.Authenticator) authn.AuthConfig {
	if auth == nil {
		auth = authn.Anonymous
	}
	config, err := auth.Authorization()
	if err != nil || config == nil {
		return authn.AuthConfig{}
	}
	return *config
}

type singleflightResult struct {
	value any
	err   error
}

func (s *Store) pulling() bool { return s.active > 0 }

func (s *Store) pull(ctx context.Context, ref name.Reference, auth authn.Authenticator) (Pulled, error) {
	if auth == nil {
		auth = authn.Anonymous
	}
	ctx, progress := s.watch(ctx)
	defer progress.end()
	pulled, err := s.pullWatched(ctx, ref, auth, progress)
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, errStalled) {
		return Pulled{}, cause
	}
	return pulled, err
}

func (s *Store) pullWatched(ctx context.Context, ref name.Reference, auth authn.Authenticator, progress *progress) (Pulled, error) {
	desc, err := s.resolve(ctx, ref, auth)
	if err != nil {
		return Pulled{}, fmt.Errorf("failed to resolve reference: %w", trimmed{err})
	}
	img, err := desc.Image()
	if err != nil {
		return Pulled{}, fmt.Errorf("no image for linux/%s: %w", runtime.GOARCH, err)
	}
	return s.fetch(ctx, ref, desc.Digest, img, progress)
}

// resolve asks the mirror, if there is one, and then the registry itself.
func (s *Store) resolve(ctx context.Context, ref name.Reference, auth authn.Authenticator) (*remote.Descriptor, error) {
	options := []remote.Option{
		remote.WithContext(ctx),
		remote.WithPlatform(v1.Platform{OS: "linux", Architecture: runtime.GOARCH}),
	}
	if s.o.Mirror != nil {
		desc, err := remote.Get(ref, append(options, remote.WithTransport(s.o.Mirror), remote.WithRetryBackoff(remote.Backoff{Steps: 1}))...)
		if err == nil {
			return desc, nil
		}
	}
	return remote.Get(ref, append(options,
		remote.WithAuth(auth),
		remote.WithTransport(plainOnly{s.o.Transport, s.o.Insecure}),
		remote.WithRetryBackoff(remote.Backoff{Duration: 100 * time.Millisecond, Factor: 3, Steps: 2}),
	)...)
}

// fetch unpacks the layers that are missing, and lists the image.
func (s *Store) fetch(ctx context.Context, ref name.Reference, digest v1.Hash, img v1.Image, progress *progress) (Pulled, error) {
	id, err := img.ConfigName()
	if err != nil {
		return Pulled{}, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return Pulled{}, fmt.Errorf("image configuration: %w", err)
	}
	layers, err := img.Layers()
	if err != nil {
		return Pulled{}, err
	}
	if len(layers) != len(config.RootFS.DiffIDs) {
		return Pulled{}, fmt.Errorf("the image has %d layers but its configuration names %d", len(layers), len(config.RootFS.DiffIDs))
	}
	out := Image{ID: id.String(), Config: config.Config, Layers: make([]string, len(layers))}
	var fetched atomic.Int64
	budget := &budget{left: s.o.MaxBytes, progress: progress}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelLayers)
	for i, layer := range layers {
		diff := config.RootFS.DiffIDs[i]
		out.Layers[i] = short(diff)
		size, err := layer.Size()
		if err != nil {
			return Pulled{}, err
		}
		out.Size += size
		group.Go(func() error {
			n, err := s.unpackOnce(ctx, layer, diff, budget)
			fetched.Add(n)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return Pulled{}, err
	}
	return Pulled{ID: out.ID, Bytes: fetched.Load()}, s.add(out, ref, digest)
}

// short names a layer's directory: overlayfs has one page for its options.
func short(diff v1.Hash) string { return diff.Hex[:min(len(diff.Hex), 16)] }

// unpackOnce makes a layer's directory if there is none, and says how many
// bytes were fetched for it.
func (s *Store) unpackOnce(ctx context.Context, layer v1.Layer, diff v1.Hash, b *budget) (int64, error) {
	n, err, _ := s.unpacks.Do(diff.String(), func() (any, error) {
		dir := s.layerDir(short(diff))
		if _, err := os.Stat(dir); err == nil {
			return int64(0), nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return int64(0), err
		}
		return s.unpackLayer(ctx, layer, diff, dir, b)
	})
	if err != nil {
		return 0, fmt.Errorf("layer %s: %w", diff, err)
	}
	return n.(int64), nil
}

func (s *Store) unpackLayer(ctx context.Context, layer v1.Layer, diff v1.Hash, dir string, b *budget) (_ int64, err error) {
	work, err := os.MkdirTemp(s.layerDir(""), ".new-")
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(work)
		}
	}()
	if err := os.Chmod(work, 0o755); err != nil {
		return 0, err
	}
	size, err := layer.Size()
	if err != nil {
		return 0, err
	}
	compressed, err := layer.Compressed() // fails at its end if digest or size differ
	if err != nil {
		return 0, err
	}
	defer compressed.Close()
	arrived := &arriving{Reader: compressed, progress: b.progress}
	plain, err := decompress(arrived)
	if err != nil {
		return 0, err
	}
	defer plain.Close()
	sum := sha256.New()
	content := io.TeeReader(b.reader(ctx, plain, arrived), sum)
	root, err := os.OpenRoot(work)
	if err != nil {
		return 0, err
	}
	defer root.Close()
	if err := Unpack(root, content); err != nil {
		return 0, err
	}
	for _, rest := range []io.Reader{content, arrived} { // padding, and the digest's verdict
		if _, err := io.Copy(io.Discard, rest); err != nil {
			return 0, err
		}
	}
	if got := fmt.Sprintf("sha256:%x", sum.Sum(nil)); got != diff.String() {
		return 0, fmt.Errorf("the unpacked content has digest %s", got)
	}
	return size, os.Rename(work, dir)
}

// plainOnly asks registries that are named insecure by http at once, and all
// others but those on loopback only by https.
type plainOnly struct {
	next     http.RoundTripper
	insecure func(string) bool
}

func (p plainOnly) RoundTrip(req *http.Request) (*http.Response, error) {
	host := req.URL.Hostname()
	plain := p.insecure != nil && (p.insecure(req.URL.Host) || p.insecure(host))
	loopback := host == "localhost" || strings.HasPrefix(host, "127.") || host == "::1"
	switch req.URL.Scheme {
	case "https":
		if plain {
			return nil, errors.New("this registry is asked by plain http")
		}
	case "http":
		if !plain && !loopback {
			return nil, fmt.Errorf("registry %s is not allowed by plain http", req.URL.Host)
		}
	}
	return p.next.RoundTrip(req)
}

// trimmed is an error without the line break at its end: registries and
// proxies send one, and the text ends up in the middle of others.
type trimmed struct{ error }

func (t trimmed) Error() string { return strings.TrimSpace(t.error.Error()) }
func (t trimmed) Unwrap() error { return t.error }
