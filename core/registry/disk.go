package registry

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// disk is what was pushed, as plain files:
//
//	blobs/HEX              a blob, named by its SHA-256 digest; manifests too
//	images/REPOSITORY/REF  REF is a tag or a digest: "sha256:HEX MEDIATYPE"
//	uploads/ID             a blob that is not complete
//
// The repository's name is one escaped path element. A blob or reference is
// renamed into its place when it is whole, so that a crash leaves no half ones.
type disk struct {
	dir string
	max int64

	mu    sync.Mutex
	used  int64           // bytes in blobs and uploads
	fresh map[string]bool // blobs that no manifest has named yet

	change sync.Mutex // held while manifests come and go
}

var (
	epoch   = time.Unix(0, 0)
	errFull = errors.New("the registry is full")
)

func openDisk(dir string, maxBytes int64) (*disk, error) {
	d := &disk{dir: dir, max: maxBytes, fresh: map[string]bool{}}
	// Nobody goes on with an upload after a restart.
	if err := os.RemoveAll(d.path("uploads")); err != nil {
		return nil, err
	}
	for _, sub := range []string{"blobs", "images", "uploads"} {
		if err := os.MkdirAll(d.path(sub), 0o755); err != nil {
			return nil, err
		}
	}
	entries, err := os.ReadDir(d.path("blobs"))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			d.used += info.Size()
		}
	}
	return d, nil
}

func (d *disk) path(parts ...string) string {
	return filepath.Join(append([]string{d.dir}, parts...)...)
}

func (d *disk) blobPath(digest string) string {
	return d.path("blobs", strings.TrimPrefix(digest, "sha256:"))
}

func (d *disk) open(digest string) (*os.File, error) { return os.Open(d.blobPath(digest)) }

func (d *disk) has(digest string) bool {
	_, err := os.Stat(d.blobPath(digest))
	return err == nil && isDigest(digest)
}

// reserve accounts for n more bytes, or fails.
func (d *disk) reserve(n int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.used+n > d.max {
		return fmt.Errorf("%w: it holds %d of at most %d bytes", errFull, d.used, d.max)
	}
	d.used += n
	return nil
}

func (d *disk) release(n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.used -= n
}

// newID names an upload.
func newID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails, says its documentation
	return hex.EncodeToString(b[:])
}

// keep makes a complete upload of that size a blob.
func (d *disk) keep(file, digest string, size int64) error {
	if d.has(digest) {
		d.release(size)
		return os.Remove(file)
	}
	d.mu.Lock()
	d.fresh[digest] = true
	d.mu.Unlock()
	return os.Rename(file, d.blobPath(digest))
}

// put stores a manifest under its digest and, if ref is a tag, under that too.
func (d *disk) put(repo, ref string, m manifest) error {
	sum := digest(m.data)
	if !d.has(sum) {
		if err := d.reserve(int64(len(m.data))); err != nil {
			return err
		}
		if err := d.write(d.blobPath(sum), m.data); err != nil {
			d.release(int64(len(m.data)))
			return err
		}
	}
	dir := d.path("images", url.PathEscape(repo))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, name := range []string{sum, ref} {
		if err := d.write(filepath.Join(dir, name), []byte(sum+" "+m.mediaType)); err != nil {
			return err
		}
	}
	d.named(m.data)
	return nil
}

func (d *disk) write(path string, data []byte) error {
	tmp := d.path("uploads", newID())
	if err := os.WriteFile(tmp, data, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

func (d *disk) manifest(repo, ref string) (manifest, bool) {
	line, err := os.ReadFile(d.path("images", url.PathEscape(repo), ref))
	if err != nil {
		return manifest{}, false
	}
	sum, mediaType, _ := strings.Cut(string(line), " ")
	data, err := os.ReadFile(d.blobPath(sum))
	return manifest{mediaType, data}, err == nil
}

func (d *disk) repositories() []string {
	entries, err := os.ReadDir(d.path("images"))
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		if name, err := url.PathUnescape(e.Name()); err == nil {
			names = append(names, name)
		}
	}
	return names
}

func (d *disk) tags(repo string) []string {
	entries, err := os.ReadDir(d.path("images", url.PathEscape(repo)))
	if err != nil {
		return nil
	}
	var tags []string
	for _, e := range entries {
		if !isDigest(e.Name()) {
			tags = append(tags, e.Name())
		}
	}
	return tags
}

// serveBytes answers GET, HEAD and ranges.
func serveBytes(w http.ResponseWriter, req *http.Request, data []byte) {
	http.ServeContent(w, req, "", epoch, bytes.NewReader(data))
}
