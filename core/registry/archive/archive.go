// Package archive reads images from files: what "docker save", "podman save",
// "skopeo copy" and "crane pull" write, which is a docker-archive or an OCI
// image layout in a tar, compressed or not.
//
// Start at [Open]; the nouns are [Archive], [Image] and [Blob]. Nothing is
// unpacked: a blob is a section of the file.
package archive

import (
	"archive/tar"
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Archive is an open file with images.
type Archive struct {
	file  *os.File
	files map[string]section
}

// section is where a file of the archive lies in it.
type section struct {
	offset, size int64
	link         string // of a link, the name of the file that is meant
}

// maxFile bounds what is read into memory: manifests and configurations.
const maxFile = 8 << 20

// Open lists what the archive has. An archive that is compressed as a whole is
// first written out to a temporary file, which nobody else sees.
func Open(file string) (*Archive, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err == nil && info.IsDir() {
		f.Close()
		return nil, fmt.Errorf("%s is a directory: pack it first, tar -C %s -cf image.tar ./", file, file)
	}
	a := &Archive{file: f, files: map[string]section{}}
	if err := a.plain(); err != nil {
		_ = a.Close()
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := a.index(); err != nil {
		_ = a.Close()
		return nil, fmt.Errorf("%s is no image archive: %w", file, err)
	}
	return a, nil
}

// Close closes the file.
func (a *Archive) Close() error { return a.file.Close() }

// plain makes the file one that is not compressed.
func (a *Archive) plain() error {
	magic := make([]byte, 4)
	if _, err := a.file.ReadAt(magic, 0); err != nil {
		return nil //nolint:nilerr // it is too short for an archive, which index says
	}
	in := bufio.NewReaderSize(a.file, 1<<20)
	var content io.Reader
	switch {
	case isGzip(magic):
		z, err := gzip.NewReader(in)
		if err != nil {
			return err
		}
		content = z
	case isZstd(magic):
		z, err := zstd.NewReader(in)
		if err != nil {
			return err
		}
		defer z.Close()
		content = z
	default:
		return nil
	}
	out, err := os.CreateTemp("", "klab-image-")
	if err != nil {
		return err
	}
	_, err = io.Copy(out, content)
	if err = errors.Join(err, os.Remove(out.Name())); err != nil {
		return errors.Join(err, out.Close())
	}
	a.file.Close()
	a.file = out
	return nil
}

func isGzip(magic []byte) bool { return bytes.HasPrefix(magic, []byte{0x1f, 0x8b}) }
func isZstd(magic []byte) bool { return bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}) }

// index notes where each file lies. The tar reader takes whole blocks and
// nothing more, so that the file stands where the content begins.
func (a *Archive) index() error {
	if _, err := a.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	info, err := a.file.Stat()
	if err != nil {
		return err
	}
	for t := tar.NewReader(a.file); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := path.Clean("/" + h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			at, err := a.file.Seek(0, io.SeekCurrent)
			if err != nil {
				return err
			}
			if at+h.Size > info.Size() {
				return fmt.Errorf("it ends within %s", h.Name)
			}
			a.files[name] = section{offset: at, size: h.Size}
		case tar.TypeSymlink:
			a.files[name] = section{link: path.Join(path.Dir(name), h.Linkname)}
		case tar.TypeLink:
			a.files[name] = section{link: path.Clean("/" + h.Linkname)}
		}
	}
}

// open finds a file, through links as old archives have them.
func (a *Archive) open(name string) (*io.SectionReader, error) {
	at := path.Clean("/" + name)
	for range 8 {
		s, ok := a.files[at]
		if !ok {
			break
		}
		if s.link == "" {
			return io.NewSectionReader(a.file, s.offset, s.size), nil
		}
		at = path.Clean("/" + s.link)
	}
	return nil, fmt.Errorf("the archive names %s but does not have it", name)
}

func (a *Archive) has(name string) bool {
	_, ok := a.files[path.Clean("/"+name)]
	return ok
}

func (a *Archive) read(name string) ([]byte, error) {
	r, err := a.open(name)
	if err != nil {
		return nil, err
	}
	if r.Size() > maxFile {
		return nil, fmt.Errorf("%s has %d bytes, which is more than any manifest", name, r.Size())
	}
	return io.ReadAll(r)
}

func (a *Archive) readJSON(name string, into any) error {
	data, err := a.read(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
