package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// tarApplets has what `kubectl cp` runs at the container's end. Archives are
// not compressed.
func tarApplets() []applet {
	return []applet{{name: "tar", usage: "c|x|t[mv]f FILE [-C DIR] [PATH ...]", run: tarCommand}}
}

// tarJob is one call of tar.
type tarJob struct {
	*call
	verbose, now bool // -v; -m: times are not restored
	dir          string
	failed       bool
}

func tarCommand(c *call) int {
	args := c.args
	if len(args) > 0 && args[0] != "" && args[0][0] != '-' { // "tar cf": the old way
		args = append([]string{"-" + args[0]}, args[1:]...)
	}
	// -C may also come after the file.
	o, rest, err := parse("c x t m v o p f= C= no-same-permissions no-same-owner", args)
	if err == nil && len(rest) > 1 && rest[0] == "-C" {
		o["C"], rest = rest[1], rest[2:]
	}
	modes := 0
	for _, mode := range []string{"c", "x", "t"} {
		if o.has(mode) {
			modes++
		}
	}
	if err != nil || modes != 1 {
		return c.usage("one of c, x and t is needed")
	}
	job := &tarJob{call: c, verbose: o.has("v"), now: o.has("m"), dir: o["C"]}
	if job.dir == "" {
		job.dir = "."
	}
	if err := job.run(o, rest); err != nil {
		return c.failf("%v", err)
	}
	if job.failed {
		return 1
	}
	return 0
}

func (j *tarJob) run(o options, paths []string) error {
	name := o["f"]
	std := name == "" || name == "-"
	if o.has("c") {
		out := j.out
		if !std {
			f, err := os.Create(name)
			if err != nil {
				return err
			}
			defer f.Close()
			out = f
		}
		return j.create(out, paths)
	}
	in := j.in
	if !std {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	return j.read(in, o.has("x"))
}

func (j *tarJob) create(out io.Writer, paths []string) error {
	if len(paths) == 0 {
		return errors.New("no files to put into an archive")
	}
	w := tar.NewWriter(out)
	for _, path := range paths {
		at := path
		if !filepath.IsAbs(path) {
			at = filepath.Join(j.dir, path)
		}
		err := filepath.WalkDir(at, func(file string, _ fs.DirEntry, err error) error {
			if err == nil {
				inside := strings.TrimPrefix(strings.TrimPrefix(file, at), "/")
				err = j.put(w, file, filepath.Join(strings.TrimLeft(path, "/"), inside))
			}
			if err != nil {
				j.failf("%v", err)
				j.failed = true
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return w.Close()
}

func (j *tarJob) put(w *tar.Writer, file, name string) error {
	info, err := os.Lstat(file)
	if err != nil {
		return err
	}
	link := ""
	if info.Mode().Type() == fs.ModeSymlink {
		if link, err = os.Readlink(file); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err // a socket
	}
	h.Name = name
	if info.IsDir() {
		h.Name += "/"
	}
	if j.verbose {
		fmt.Fprintln(j.err, h.Name)
	}
	if !info.Mode().IsRegular() {
		return w.WriteHeader(h)
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.CopyN(w, f, h.Size)
	return err
}

// read lists or unpacks. Nothing lands outside the directory.
func (j *tarJob) read(in io.Reader, unpack bool) error {
	r := tar.NewReader(in)
	root, err := os.OpenRoot(j.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			// Whoever sends may pad the archive.
			_, err = io.Copy(io.Discard, in)
			return err
		}
		if err != nil {
			return err
		}
		if !unpack || j.verbose {
			fmt.Fprintln(j.out, h.Name)
		}
		if !unpack {
			continue
		}
		if err := j.unpack(root, h, r); err != nil {
			j.failf("%s: %v", h.Name, err)
			j.failed = true
		}
	}
}

func (j *tarJob) unpack(root *os.Root, h *tar.Header, from io.Reader) error {
	name := filepath.Clean(strings.TrimLeft(h.Name, "/"))
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	mode := fs.FileMode(h.Mode).Perm()
	switch h.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(name, mode|0o700)
	case tar.TypeSymlink:
		root.Remove(name)
		return root.Symlink(h.Linkname, name)
	case tar.TypeLink:
		root.Remove(name)
		return root.Link(filepath.Clean(strings.TrimLeft(h.Linkname, "/")), name)
	case tar.TypeReg:
	default:
		return errors.New("a file of this kind is not unpacked")
	}
	root.Remove(name) // not through a link, and also what is being executed
	f, err := root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	err = errors.Join(err, f.Close())
	if err == nil && !j.now {
		err = root.Chtimes(name, h.ModTime, h.ModTime)
	}
	return err
}
