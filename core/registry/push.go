package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

const (
	maxManifest = 4 << 20 // the specification's own limit
	chunk       = 1 << 20 // how finely an upload is accounted for
)

// isTag reports whether s, which the path's pattern has let through, is a tag.
func isTag(s string) bool {
	return !strings.Contains(s, ":") && !strings.HasPrefix(s, ".") && !strings.HasPrefix(s, "-")
}

// writable reports whether something may be pushed to repo, else refuses it.
func (r *Registry) writable(w http.ResponseWriter, repo string) bool {
	switch {
	case r.disk == nil:
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "this registry is read-only")
	case r.builtin[repo] != nil:
		refuse(w, http.StatusForbidden, "DENIED", Host+"/"+repo+" is built in and cannot be replaced; push under another name")
	default:
		return true
	}
	return false
}

// upload is POST (begin), PATCH (append) and PUT (finish with ?digest=).
func (r *Registry) upload(w http.ResponseWriter, req *http.Request, m []string) {
	repo, id := m[0], m[1]
	if !r.writable(w, repo) {
		return
	}
	begin := req.Method == http.MethodPost && id == ""
	if !begin && (id == "" || (req.Method != http.MethodPatch && req.Method != http.MethodPut)) {
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", req.Method+" is not possible here")
		return
	}
	if begin {
		if d := req.FormValue("mount"); isDigest(d) && r.has(d) {
			created(w, "/v2/"+repo+"/blobs/"+d, d)
			return
		}
		id = newID()
	}
	file := r.disk.path("uploads", id)
	size, err := r.disk.append(file, req.Body, begin)
	if err != nil {
		refuseUpload(w, err)
		return
	}
	want := req.URL.Query().Get("digest")
	if req.Method == http.MethodPut || (begin && want != "") {
		r.finishUpload(w, repo, file, want, size)
		return
	}
	w.Header().Set("Location", "/v2/"+repo+"/blobs/uploads/"+id)
	w.Header().Set("Docker-Upload-UUID", id)
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(size-1, 0)))
	w.WriteHeader(http.StatusAccepted)
}

func created(w http.ResponseWriter, location, digest string) {
	w.Header().Set("Location", location)
	w.Header().Set("Docker-Content-Digest", digest)
	w.WriteHeader(http.StatusCreated)
}

func refuseUpload(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, errFull):
		refuse(w, http.StatusRequestEntityTooLarge, "SIZE_INVALID", err.Error())
	case errors.Is(err, os.ErrNotExist):
		refuse(w, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "no such upload; begin again with POST")
	default:
		refuse(w, http.StatusInternalServerError, "BLOB_UPLOAD_INVALID", err.Error())
	}
}

// finishUpload checks what arrived against the digest that was announced.
func (r *Registry) finishUpload(w http.ResponseWriter, repo, file, want string, size int64) {
	got, err := fileDigest(file)
	if err == nil && got != want {
		err = fmt.Errorf("what arrived has the digest %s", got)
	}
	if err == nil {
		err = r.disk.keep(file, want, size)
	} else {
		r.disk.release(size)
		err = errors.Join(err, os.Remove(file))
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, "DIGEST_INVALID", err.Error())
		return
	}
	created(w, "/v2/"+repo+"/blobs/"+want, want)
}

func fileDigest(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}

// append writes body to the end of an upload and returns the upload's size. An
// upload that fails is removed.
func (d *disk) append(file string, body io.Reader, begin bool) (size int64, err error) {
	flags := os.O_WRONLY | os.O_APPEND
	if begin {
		flags |= os.O_CREATE | os.O_EXCL
	}
	f, err := os.OpenFile(file, flags, 0o644)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	for size = info.Size(); ; {
		if err = d.reserve(chunk); err != nil {
			break
		}
		var n int64
		n, err = io.CopyN(f, body, chunk)
		size += n
		d.release(chunk - n)
		if errors.Is(err, io.EOF) {
			return size, f.Close()
		}
		if err != nil {
			break
		}
	}
	d.release(size)
	return 0, errors.Join(err, os.Remove(file))
}

// putManifest stores a manifest whose blobs are all here.
func (r *Registry) putManifest(w http.ResponseWriter, req *http.Request, repo, ref string) {
	if !r.writable(w, repo) {
		return
	}
	data, err := io.ReadAll(io.LimitReader(req.Body, maxManifest+1))
	if err != nil || len(data) > maxManifest {
		refuse(w, http.StatusRequestEntityTooLarge, "MANIFEST_INVALID", "a manifest has at most 4 MiB")
		return
	}
	sum := digest(data)
	if (isDigest(ref) && ref != sum) || (!isDigest(ref) && !isTag(ref)) {
		refuse(w, http.StatusBadRequest, "DIGEST_INVALID", fmt.Sprintf("%s is neither a tag nor the manifest's digest %s", ref, sum))
		return
	}
	r.disk.change.Lock()
	defer r.disk.change.Unlock()
	missing, err := r.missing(data)
	if err != nil {
		refuse(w, http.StatusBadRequest, "MANIFEST_INVALID", err.Error())
		return
	}
	if missing != "" {
		refuse(w, http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", "push this first: "+missing)
		return
	}
	if err := r.disk.put(repo, ref, manifest{req.Header.Get("Content-Type"), data}); err != nil {
		refuseUpload(w, err)
		return
	}
	created(w, "/v2/"+repo+"/manifests/"+sum, sum)
}

// part is what a manifest or index refers to.
type part struct {
	Digest string
	URLs   []string
	Size   int64
}

func partsOf(data []byte) ([]part, error) {
	var m struct {
		Config    *part
		Layers    []part
		Manifests []part
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, err
	}
	all := append(m.Layers, m.Manifests...)
	if m.Config != nil {
		all = append(all, *m.Config)
	}
	return all, nil
}

// missing returns a digest that the manifest or index refers to and that is
// not here. Layers with addresses of their own may be elsewhere.
func (r *Registry) missing(data []byte) (string, error) {
	parts, err := partsOf(data)
	if err != nil {
		return "", fmt.Errorf("the manifest is no JSON object: %w", err)
	}
	for _, d := range parts {
		if !isDigest(d.Digest) {
			return "", fmt.Errorf("%q is no SHA-256 digest", d.Digest)
		}
		if len(d.URLs) == 0 && !r.has(d.Digest) {
			return d.Digest, nil
		}
	}
	return "", nil
}
