package labs

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"go.yaml.in/yaml/v3"
)

//go:embed */*.yaml
var content embed.FS

// Content is the built-in labs, as files.
func Content() fs.FS { return content }

// Lab is a scenario as its author wrote it.
type Lab struct {
	ID    string `yaml:"-"` // the folder's name
	Title struct {
		EN string `yaml:"en"`
		ZH string `yaml:"zh"`
	} `yaml:"title"`
	Nodes     int      `yaml:"nodes"`
	Without   []string `yaml:"without"`   // add-ons that the cluster does not get
	Manifests []string `yaml:"manifests"` // files of the folder, in the order in which they are applied

	files fs.FS
}

// Catalog reads all labs of a folder such as Content, by name. An error names
// the file.
func Catalog(fsys fs.FS) ([]*Lab, error) {
	paths, err := fs.Glob(fsys, "*/lab.yaml")
	if err != nil {
		return nil, err
	}
	var list []*Lab
	for _, p := range paths {
		l, err := read(fsys, p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		list = append(list, l)
	}
	return list, nil
}

func read(fsys fs.FS, file string) (*Lab, error) {
	text, err := fs.ReadFile(fsys, file)
	if err != nil {
		return nil, err
	}
	l := &Lab{ID: path.Dir(file)}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(l); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if l.files, err = fs.Sub(fsys, l.ID); err != nil {
		return nil, err
	}
	switch {
	case l.Title.EN == "" || l.Title.ZH == "":
		return nil, errors.New("a lab needs a title in both languages: title: {en: …, zh: …}")
	case l.Nodes < 1:
		return nil, errors.New("a lab needs nodes: write how many")
	}
	_, err = l.Manifest()
	return l, err
}

// Find returns the lab with a name.
func Find(list []*Lab, name string) (*Lab, error) {
	var names []string
	for _, l := range list {
		if l.ID == name {
			return l, nil
		}
		names = append(names, l.ID)
	}
	return nil, fmt.Errorf("there is no lab %q; there are %s", name, strings.Join(names, ", "))
}

// Manifest is everything that the lab applies, as one YAML stream; empty if
// it applies nothing.
func (l *Lab) Manifest() ([]byte, error) {
	var all bytes.Buffer
	for _, name := range l.Manifests {
		text, err := fs.ReadFile(l.files, name)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&all, "---\n%s\n", bytes.TrimSpace(text))
	}
	return all.Bytes(), nil
}
