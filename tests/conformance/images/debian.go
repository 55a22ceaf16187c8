package images

import (
	"context"
	"crypto/sha256"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A debian fetches packages of the machine's own distribution and unpacks them
// beside it: nothing is installed.
type debian struct {
	// dir keeps archives and unpacked trees between runs.
	dir string
}

// tree returns a directory with the packages and all that they depend on.
func (d debian) tree(ctx context.Context, packages []string) (string, error) {
	archives := filepath.Join(d.dir, "archives")
	status := filepath.Join(d.dir, "nothing-installed")
	if err := os.MkdirAll(filepath.Join(archives, "partial"), 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(status, nil, 0o644); err != nil {
		return "", err
	}
	files, err := d.resolve(ctx, archives, status, packages)
	if err != nil {
		return "", err
	}
	tree := filepath.Join(d.dir, fmt.Sprintf("tree-%.8x", sha256.Sum256([]byte(strings.Join(files, " ")))))
	if _, err := os.Stat(tree); err == nil {
		return tree, nil
	}
	work := tree + ".part"
	if err := errors.Join(os.RemoveAll(work), os.MkdirAll(work, 0o755)); err != nil {
		return "", err
	}
	for _, file := range files {
		if out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", filepath.Join(archives, file), work).CombinedOutput(); err != nil {
			return "", fmt.Errorf("unpacking %s: %w: %s", file, err, out)
		}
	}
	return tree, os.Rename(work, tree)
}

// resolve returns the archives of packages and their dependencies, fetched. To
// apt it says that nothing is installed and nothing fetched, so that the plan
// names every archive, whatever this machine has.
func (d debian) resolve(ctx context.Context, archives, status string, packages []string) ([]string, error) {
	apt := func(args ...string) ([]byte, error) {
		args = append(args, "-q", "-y", "--no-install-recommends", "-o", "Dir::State::status="+status,
			"-o", "APT::Sandbox::User=root", "-o", "Debug::NoLocking=1", "install")
		cmd := exec.CommandContext(ctx, "apt-get", append(args, packages...)...)
		cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
		out, err := cmd.CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("apt-get cannot get %s: %w\n%s", strings.Join(packages, ", "), err, out)
		}
		return out, nil
	}
	empty := filepath.Join(d.dir, "empty")
	if err := os.MkdirAll(filepath.Join(empty, "partial"), 0o755); err != nil {
		return nil, err
	}
	out, err := apt("--print-uris", "-o", "Dir::Cache::archives="+empty)
	if err != nil {
		// A new machine may have no list of packages, or an old one.
		if out, err := exec.CommandContext(ctx, "apt-get", "-q", "update").CombinedOutput(); err != nil {
			return nil, fmt.Errorf("apt-get update: %w\n%s", err, out)
		}
		if out, err = apt("--print-uris", "-o", "Dir::Cache::archives="+empty); err != nil {
			return nil, err
		}
	}
	var files []string
	missing := false
	for line := range strings.Lines(string(out)) {
		// 'uri' file size hash
		f := strings.Fields(line)
		if len(f) < 3 || !strings.HasPrefix(line, "'") {
			continue
		}
		files = append(files, f[1])
		if _, err := os.Stat(filepath.Join(archives, f[1])); err != nil {
			missing = true
		}
	}
	slices.Sort(files)
	if missing {
		_, err = apt("--download-only", "-o", "Dir::Cache::archives="+archives)
	}
	return files, err
}

// find returns the file that an image has at p, among the places where a
// package may have it.
func find(tree, p string) (string, error) {
	tries := []string{p, filepath.Join("usr", p)}
	if rest, ok := under(p, "usr"); ok {
		tries = append(tries, rest)
	}
	for _, t := range tries {
		full := filepath.Join(tree, t)
		if _, err := os.Stat(full); err == nil {
			return full, nil
		}
	}
	return "", fmt.Errorf("no package has %s: %w", p, fs.ErrNotExist)
}

// libraries returns the paths in tree of what programs are linked with: the
// dynamic linker and every shared library, those of libraries included.
func libraries(tree string, programs []string) ([]string, error) {
	var dirs []string
	for _, pattern := range []string{"lib/*-linux-gnu*", "usr/lib/*-linux-gnu*", "lib64", "lib", "usr/lib"} {
		more, err := filepath.Glob(filepath.Join(tree, pattern))
		if err != nil {
			return nil, err
		}
		dirs = append(dirs, more...)
	}
	var found []string
	queue := slices.Clone(programs)
	for len(queue) > 0 {
		wanted, err := linked(queue[0])
		if err != nil {
			return nil, err
		}
		queue = queue[1:]
		for _, want := range wanted {
			file, err := findIn(dirs, want)
			if err != nil {
				return nil, err
			}
			if !slices.Contains(found, file) {
				found = append(found, file)
				queue = append(queue, file)
			}
		}
	}
	slices.Sort(found)
	return found, nil
}

// linked returns the names of the linker and the libraries that file wants.
func linked(file string) ([]string, error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, fmt.Errorf("%s is no program: %w", file, err)
	}
	defer f.Close()
	wanted, err := f.ImportedLibraries()
	if err != nil {
		return nil, err
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		b := make([]byte, p.Filesz)
		if _, err := p.ReadAt(b, 0); err != nil {
			return nil, err
		}
		wanted = append(wanted, filepath.Base(strings.TrimRight(string(b), "\x00")))
	}
	return wanted, nil
}

func findIn(dirs []string, name string) (string, error) {
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return filepath.Join(dir, name), nil
		}
	}
	return "", fmt.Errorf("no package has the library %s", name)
}

// under returns what follows dir in p.
func under(p, dir string) (string, bool) { return strings.CutPrefix(p, dir+"/") }

func cut(p string) (first, rest string, found bool) { return strings.Cut(p, "/") }
