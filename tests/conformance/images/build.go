package images

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// A Builder makes images. What it fetched and compiled stays in its directory,
// so that the next time is quick.
type Builder struct {
	dir, src, module string
	packages         debian
	compiled         map[string]string
}

// NewBuilder returns a builder that keeps its things in dir; src is the
// directory of this Go module.
func NewBuilder(ctx context.Context, dir, src string) (*Builder, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes")
	cmd.Dir = src
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("where the suite's module is, go does not say: %w", err)
	}
	return &Builder{
		dir: dir, src: src, module: strings.TrimSpace(string(out)),
		packages: debian{dir: filepath.Join(dir, "debian")}, compiled: map[string]string{},
	}, nil
}

// Build makes the image's tar unless an equal one is there, and returns its
// path.
func (b *Builder) Build(ctx context.Context, img Image) (string, error) {
	sum := sha256.Sum256(fmt.Appendf(nil, "3 %s %+v", b.module, img))
	file := filepath.Join(b.dir, "images", fmt.Sprintf("%s-%.6x.tar", img.File, sum))
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(filepath.Dir(file), ".work-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	l := newLayout(work)
	for _, layer := range img.Layers {
		entries, err := b.entries(ctx, layer)
		if err != nil {
			return "", fmt.Errorf("image %s, layer %s: %w", img.File, layer.Name, err)
		}
		if err := l.addLayer(layer.Name, entries); err != nil {
			return "", fmt.Errorf("image %s, layer %s: %w", img.File, layer.Name, err)
		}
	}
	if err := l.finish(img); err != nil {
		return "", fmt.Errorf("image %s: %w", img.File, err)
	}
	part := filepath.Join(work, "image.tar")
	if err := l.pack(part); err != nil {
		return "", err
	}
	return file, os.Rename(part, file)
}

// compile builds a program of the suite's module, and returns where it is.
func (b *Builder) compile(ctx context.Context, what string) (string, error) {
	if program, ok := b.compiled[what]; ok {
		return program, nil
	}
	program := filepath.Join(b.dir, "programs", strings.TrimSuffix(path.Base(what), ".c"))
	if err := os.MkdirAll(filepath.Dir(program), 0o755); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-ldflags", "-s -w", "-o", program, what)
	if path.Ext(what) == ".c" {
		cmd = exec.CommandContext(ctx, "gcc", "-Os", "-static", "-s", "-DVERSION=conformance", "-o", program, filepath.Join(b.module, what))
	}
	cmd.Dir = b.src
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("compiling %s: %w\n%s", what, err, out)
	}
	b.compiled[what] = program
	return program, nil
}
