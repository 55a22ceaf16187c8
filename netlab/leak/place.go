package leak

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/klab-project/klab/netlab/netns"
)

// Place is a part of the machine in which to look: a node of a lab, while it
// runs. What pods come and go on must be afterwards as it was before.
type Place struct {
	// PID is a process of the place: links, addresses, routes, rules and mounts
	// are those of its namespaces.
	PID int
	// Names are those of mounts, control groups and processes that count.
	Names []string
	// Dirs have an entry for each thing that somebody remembers: "file". Entries
	// with a name of Except are no such things.
	Dirs   []string
	Except []string
}

// Take looks at the place. Sysctls are not looked at.
func (p Place) Take(ctx context.Context) (Snapshot, error) {
	s := Snapshot{}
	proc := fmt.Sprintf("/proc/%d/", p.PID)
	err := netns.Do(proc+"ns/net", func() error { return errors.Join(network(ctx, s, nil), rules(ctx, s, nil)) })
	err = errors.Join(err, mountsOf(proc+"mountinfo", s, p.Names), cgroups(ctx, s, p.Names), processes(ctx, s, p.Names), files(s, p.Dirs, p.Except))
	if err != nil {
		return nil, fmt.Errorf("look for leaks: %w", err)
	}
	return s, nil
}

// files takes the entries of directories; one that is not there has none.
func files(s Snapshot, dirs, except []string) error {
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			if !slices.Contains(except, e.Name()) {
				s["file"] = append(s["file"], filepath.Join(dir, e.Name()))
			}
		}
	}
	return nil
}
