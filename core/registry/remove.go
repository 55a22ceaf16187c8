package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
)

// deleteManifest is DELETE of a tag or a digest. What no image needs any more
// is removed from the disk with it.
func (r *Registry) deleteManifest(w http.ResponseWriter, repo, ref string) {
	if !r.writable(w, repo) {
		return
	}
	err := r.disk.remove(repo, ref)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", fmt.Sprintf("no image %s with tag or digest %s", repo, ref))
	case err != nil:
		refuse(w, http.StatusInternalServerError, "UNKNOWN", err.Error())
	default:
		w.WriteHeader(http.StatusAccepted)
	}
}

// remove forgets a reference; with a repository's last tag its digests go too.
func (d *disk) remove(repo, ref string) error {
	d.change.Lock()
	defer d.change.Unlock()
	dir := d.path("images", url.PathEscape(repo))
	if err := os.Remove(filepath.Join(dir, ref)); err != nil {
		return err
	}
	if err := d.forgetDigests(repo, dir); err != nil {
		return err
	}
	return d.sweep()
}

// forgetDigests removes the digests of a repository that no tag leads to.
func (d *disk) forgetDigests(repo, dir string) error {
	wanted := map[string]bool{}
	for _, tag := range d.tags(repo) {
		if m, ok := d.manifest(repo, tag); ok {
			d.reach(m.data, wanted)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	left := 0
	for _, e := range entries {
		if isDigest(e.Name()) && !wanted[e.Name()] {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
			continue
		}
		left++
	}
	if left == 0 {
		err = errors.Join(err, os.Remove(dir))
	}
	return err
}

// reach adds a manifest and all that it leads to.
func (d *disk) reach(data []byte, to map[string]bool) {
	sum := digest(data)
	if to[sum] {
		return
	}
	to[sum] = true
	parts, err := partsOf(data)
	if err != nil {
		return // put lets no such manifest in
	}
	for _, p := range parts {
		if to[p.Digest] {
			continue
		}
		if info, err := os.Stat(d.blobPath(p.Digest)); err == nil && info.Size() <= maxManifest {
			if child, err := os.ReadFile(d.blobPath(p.Digest)); err == nil && digest(child) == p.Digest {
				d.reach(child, to)
			}
		}
		to[p.Digest] = true
	}
}

// sweep removes the blobs that no image leads to, except those of a push that
// has not come to its manifest yet.
func (d *disk) sweep() error {
	wanted := map[string]bool{}
	for _, repo := range d.repositories() {
		entries, err := os.ReadDir(d.path("images", url.PathEscape(repo)))
		if err != nil {
			return err
		}
		for _, e := range entries {
			if m, ok := d.manifest(repo, e.Name()); ok {
				d.reach(m.data, wanted)
			}
		}
	}
	entries, err := os.ReadDir(d.path("blobs"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		sum := "sha256:" + e.Name()
		if wanted[sum] || d.isFresh(sum) {
			continue
		}
		info, statErr := e.Info()
		if statErr != nil {
			continue
		}
		if rmErr := os.Remove(d.path("blobs", e.Name())); rmErr != nil {
			err = errors.Join(err, rmErr)
			continue
		}
		d.release(info.Size())
	}
	return err
}

func (d *disk) isFresh(digest string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.fresh[digest]
}

// named notes that a manifest leads to its blobs now.
func (d *disk) named(data []byte) {
	parts, err := partsOf(data)
	if err != nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range parts {
		delete(d.fresh, p.Digest)
	}
}
