package registry

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Pack makes the layer of the built-in images: the multi-call program as
// /bin/klab-tools with a link for each name, and the few files that programs
// expect. The result is a gzip-compressed tar whose gzip comment is the digest
// of the uncompressed tar (an image's diff id), so that nobody has to unpack
// it to serve it. The same input gives the same bytes.
func Pack(program []byte, names []string) ([]byte, error) {
	if len(names) == 0 {
		return nil, errors.New("pack layer: no command names")
	}
	plain, err := packTar(program, names)
	if err != nil {
		return nil, fmt.Errorf("pack layer: %w", err)
	}
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, fmt.Errorf("pack layer: %w", err)
	}
	w.Comment = digest(plain)
	if _, err := w.Write(plain); err != nil {
		return nil, fmt.Errorf("pack layer: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("pack layer: %w", err)
	}
	return out.Bytes(), nil
}

// files are what the image has besides its program.
var files = []tar.Header{
	{Name: "bin/", Mode: 0o755},
	{Name: "dev/", Mode: 0o755},
	{Name: "etc/", Mode: 0o755},
	{Name: "etc/passwd", Mode: 0o644},
	{Name: "etc/group", Mode: 0o644},
	{Name: "etc/nsswitch.conf", Mode: 0o644},
	{Name: "home/", Mode: 0o755},
	{Name: "home/klab/", Mode: 0o755, Uid: 1000, Gid: 1000},
	{Name: "proc/", Mode: 0o555},
	{Name: "root/", Mode: 0o700},
	{Name: "run/", Mode: 0o755},
	{Name: "sys/", Mode: 0o555},
	{Name: "tmp/", Mode: 0o1777},
	{Name: "var/", Mode: 0o755},
}

var contents = map[string]string{
	"etc/passwd":        "root:x:0:0:root:/root:/bin/sh\nklab:x:1000:1000:klab:/home/klab:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
	"etc/group":         "root:x:0:\nklab:x:1000:\nnogroup:x:65534:\n",
	"etc/nsswitch.conf": "hosts: files dns\n",
}

func packTar(program []byte, names []string) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	add := func(h tar.Header, body []byte) error {
		h.ModTime, h.Format, h.Size = time.Unix(0, 0), tar.FormatUSTAR, int64(len(body))
		if err := w.WriteHeader(&h); err != nil {
			return err
		}
		_, err := w.Write(body)
		return err
	}
	for _, h := range files {
		h.Typeflag = tar.TypeReg
		if strings.HasSuffix(h.Name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if err := add(h, []byte(contents[h.Name])); err != nil {
			return nil, err
		}
	}
	if err := add(tar.Header{Name: "bin/klab-tools", Mode: 0o755, Typeflag: tar.TypeReg}, program); err != nil {
		return nil, err
	}
	for _, name := range names {
		if name == "" || strings.Contains(name, "/") {
			return nil, fmt.Errorf("%q is no command name", name)
		}
		link := tar.Header{Name: "bin/" + name, Linkname: "klab-tools", Mode: 0o777, Typeflag: tar.TypeSymlink}
		if err := add(link, nil); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// diffID reads the digest that [Pack] left in the gzip header.
func diffID(layer []byte) (string, error) {
	r, err := gzip.NewReader(bytes.NewReader(layer))
	if err != nil {
		return "", fmt.Errorf("layer of the built-in images: %w", err)
	}
	if !isDigest(r.Comment) {
		return "", errors.New("layer of the built-in images: it was not made by `make`: its gzip comment is no digest")
	}
	return r.Comment, nil
}

// digest is the SHA-256 digest in OCI's notation.
func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// isDigest reports whether s is a SHA-256 digest, the only kind served here.
func isDigest(s string) bool {
	h, ok := strings.CutPrefix(s, "sha256:")
	return ok && len(h) == 64 && strings.Trim(h, "0123456789abcdef") == ""
}
