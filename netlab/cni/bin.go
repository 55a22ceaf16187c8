package cni

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containernetworking/cni/pkg/version"
)

// Bin is a directory of plugins, such as /opt/cni/bin. Those that are klab's
// own program are called in process; all others are executed.
type Bin struct {
	Dir   string
	Own   Plugins
	NetNS string        // where programs run; empty: where the process is
	Limit time.Duration // how long a program may take; 0 means DefaultLimit

	mu       sync.Mutex
	versions map[program][]string
}

// Path is directories whose plugins are all executed, as CNI_PATH has them.
type Path []string

// Dirs implements [Finder].
func (p Path) Dirs() []string { return p }

// Find implements [Finder]. The errors are libcni's.
func (p Path) Find(kind string) (Plugin, error) {
	path, _, err := p.find(kind)
	if err != nil {
		return nil, err
	}
	return &Program{Path: path}, nil
}

func (p Path) find(kind string) (string, fs.FileInfo, error) {
	switch {
	case kind == "":
		return "", nil, errors.New("no plugin name provided")
	case strings.ContainsRune(kind, filepath.Separator):
		return "", nil, fmt.Errorf("invalid plugin name: %s", kind)
	}
	for _, dir := range p {
		path := filepath.Join(dir, kind)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path, info, nil
		}
	}
	return "", nil, notFound(kind, p)
}

// program is a file at a time.
type program struct {
	path  string
	size  int64
	mtime time.Time
}

// OwnProgram is the file name of klab's own plugins in a Bin; each plugin is a
// link to it.
const OwnProgram = "klab-cni"

// Dirs implements [Finder].
func (b *Bin) Dirs() []string { return []string{b.Dir} }

// Find implements [Finder].
func (b *Bin) Find(kind string) (Plugin, error) {
	path, info, err := Path(b.Dirs()).find(kind)
	if err != nil {
		return nil, err
	}
	if plugin, ok := b.Own[kind]; ok {
		if own, err := os.Stat(filepath.Join(b.Dir, OwnProgram)); err == nil && os.SameFile(own, info) {
			return plugin, nil
		}
	}
	return &asked{Program: &Program{Path: path, NetNS: b.NetNS, Limit: b.Limit}, bin: b, id: program{path, info.Size(), info.ModTime()}}, nil
}

// Place makes the directory, with program as klab's own plugins. The plugins'
// names are linked when the directory is new: later, what was put in their
// place stays, and what was removed stays away.
func (b *Bin) Place(program []byte) error {
	_, err := os.Stat(filepath.Join(b.Dir, OwnProgram))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("place network plugins: %w", err)
	}
	if err != nil { // last comes what says that all is there
		for _, kind := range slices.Sorted(maps.Keys(b.Own)) {
			err := errors.Join(os.MkdirAll(b.Dir, 0o755), os.Symlink(OwnProgram, filepath.Join(b.Dir, kind)))
			if err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("place network plugins: %w", err)
			}
		}
	}
	if old, err := os.ReadFile(filepath.Join(b.Dir, OwnProgram)); err != nil || string(old) != string(program) {
		if err := writeWhole(filepath.Join(b.Dir, OwnProgram), program, 0o755); err != nil {
			return fmt.Errorf("place network plugins: %w", err)
		}
	}
	return nil
}

// Versioned is a plugin that may have other versions of the specification than
// this package.
type Versioned interface {
	Versions(ctx context.Context) ([]string, error)
}

// asked is a program whose versions are asked for once. One that does not tell
// them is taken to have all.
type asked struct {
	*Program
	bin *Bin
	id  program
}

// Versions implements [Versioned].
func (a *asked) Versions(ctx context.Context) ([]string, error) {
	a.bin.mu.Lock()
	known, ok := a.bin.versions[a.id]
	a.bin.mu.Unlock()
	if ok {
		return known, nil
	}
	list, err := a.Program.Versions(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		list = version.All.SupportedVersions()
	}
	a.bin.mu.Lock()
	defer a.bin.mu.Unlock()
	if a.bin.versions == nil {
		a.bin.versions = map[program][]string{}
	}
	a.bin.versions[a.id] = list
	return list, nil
}
