package images

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// An entry is a file of a layer: the content of src or text, or a link.
type entry struct {
	path, src, text, link string
	mode                  int64
	dir                   bool
}

// entries returns what the layer has, sorted, with directories above files.
func (b *Builder) entries(ctx context.Context, l Layer) ([]entry, error) {
	files := map[string]entry{}
	if err := b.fromPackages(ctx, l, files); err != nil {
		return nil, err
	}
	for p, what := range l.Built {
		program, err := b.compile(ctx, what)
		if err != nil {
			return nil, err
		}
		files[p] = entry{path: p, src: program, mode: 0o755}
	}
	for p, from := range l.Copied {
		files[p] = entry{path: p, src: filepath.Join(b.module, from), mode: 0o644}
	}
	for p, text := range l.Texts {
		files[p] = entry{path: p, text: text, mode: 0o644}
	}
	for p, to := range l.Links {
		files[p] = entry{path: p, link: to}
	}
	for _, p := range l.SetUID {
		e := files[p]
		e.mode |= 0o4000
		files[p] = e
	}
	for _, p := range l.Dirs {
		mode := int64(0o755)
		if p == "tmp" || p == "var/tmp" {
			mode = 0o1777
		}
		files[p] = entry{path: p, dir: true, mode: mode}
	}
	for _, p := range slices.Collect(maps.Keys(files)) {
		for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
			if _, ok := files[dir]; !ok {
				files[dir] = entry{path: dir, dir: true, mode: 0o755}
			}
		}
	}
	return slices.SortedFunc(maps.Values(files), func(a, b entry) int { return strings.Compare(a.path, b.path) }), nil
}

// fromPackages adds the layer's programs, their libraries and its files.
func (b *Builder) fromPackages(ctx context.Context, l Layer, files map[string]entry) error {
	if len(l.Packages) == 0 {
		return nil
	}
	tree, err := b.packages.tree(ctx, l.Packages)
	if err != nil {
		return err
	}
	var programs []string
	for _, p := range slices.Concat(l.Programs, l.Files) {
		src, err := find(tree, p)
		if err != nil {
			return err
		}
		mode := int64(0o644)
		if slices.Contains(l.Programs, p) {
			programs = append(programs, src)
			mode = 0o755
		}
		files[usr(p)] = entry{path: usr(p), src: src, mode: mode}
	}
	libs, err := libraries(tree, programs)
	if err != nil {
		return err
	}
	for _, lib := range libs {
		in, err := filepath.Rel(tree, lib)
		if err != nil {
			return err
		}
		files[usr(in)] = entry{path: usr(in), src: lib, mode: 0o755}
	}
	if l.Applets {
		return applets(ctx, files)
	}
	return nil
}

// applets adds busybox's names, and the links that make every old directory of
// programs and libraries the one in usr.
func applets(ctx context.Context, files map[string]entry) error {
	out, err := exec.CommandContext(ctx, files["usr/bin/busybox"].src, "--list").Output()
	if err != nil {
		return fmt.Errorf("busybox does not name its applets: %w", err)
	}
	for _, name := range strings.Fields(string(out)) {
		p := "usr/bin/" + name
		if _, ok := files[p]; !ok {
			files[p] = entry{path: p, link: "busybox"}
		}
	}
	for p, to := range map[string]string{"bin": "usr/bin", "sbin": "usr/bin", "usr/sbin": "bin", "lib": "usr/lib", "lib64": "usr/lib64"} {
		files[p] = entry{path: p, link: to}
	}
	// Programs name the dynamic linker in lib64, or in lib itself.
	for _, p := range slices.Collect(maps.Keys(files)) {
		if name := path.Base(p); strings.HasPrefix(name, "ld-linux") {
			for _, dir := range []string{"usr/lib64/", "usr/lib/"} {
				if _, ok := files[dir+name]; !ok {
					files[dir+name] = entry{path: dir + name, link: "/" + p}
				}
			}
		}
	}
	return nil
}

// write makes a tar of entries. No time and no owner of this machine is in it.
func write(w io.Writer, entries []entry) error {
	t := tar.NewWriter(w)
	for _, e := range entries {
		if err := writeEntry(t, e); err != nil {
			return fmt.Errorf("%s: %w", e.path, err)
		}
	}
	return t.Close()
}

func writeEntry(t *tar.Writer, e entry) error {
	h := &tar.Header{Name: e.path, Mode: e.mode, ModTime: time.Unix(0, 0), Typeflag: tar.TypeReg, Format: tar.FormatPAX}
	content := io.Reader(bytes.NewReader([]byte(e.text)))
	h.Size = int64(len(e.text))
	switch {
	case e.dir:
		h.Typeflag, h.Name = tar.TypeDir, e.path+"/"
	case e.link != "":
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, e.link, 0o777
	case e.src != "":
		f, err := os.Open(e.src)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		h.Size, content = info.Size(), f
	}
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.Copy(t, content)
	return err
}
