package lessons

import (
	"cmp"
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

//go:embed _glossary.yaml all:[0-9]*
var content embed.FS

// Content is the built-in lessons, as files.
func Content() fs.FS { return content }

// Catalog reads all lessons of a folder such as Content, in their order.
func Catalog(fsys fs.FS) ([]*Lesson, error) {
	paths, err := fs.Glob(fsys, "*/lesson.md")
	if err != nil {
		return nil, err
	}
	var list []*Lesson
	for _, path := range paths {
		source, err := fs.ReadFile(fsys, path)
		if err != nil {
			return nil, err
		}
		l, err := Parse(path, source)
		if err != nil {
			return nil, err
		}
		l.Dir = strings.TrimSuffix(path, "/lesson.md")
		if l.Files, err = fs.Sub(fsys, l.Dir); err != nil {
			return nil, err
		}
		list = append(list, l)
	}
	slices.SortFunc(list, func(a, b *Lesson) int { return cmp.Compare(a.Order, b.Order) })
	return list, nil
}

// Find returns the lesson with a number ("01", "1"), id or folder name.
func Find(list []*Lesson, name string) (*Lesson, error) {
	var names []string
	for _, l := range list {
		if strings.TrimLeft(name, "0") == fmt.Sprint(l.Order) || name == l.ID || name == l.Dir {
			return l, nil
		}
		names = append(names, l.Number()+" ("+l.ID+")")
	}
	return nil, fmt.Errorf("there is no lesson %q; there are %s", name, strings.Join(names, ", "))
}
