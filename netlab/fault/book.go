package fault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/link"
)

// Actor is who breaks and mends.
const Actor = "fault"

// Fault is a card that was played, as it is on disk.
type Fault struct {
	ID     string            `json:"id"`
	Card   string            `json:"card"`
	Node   string            `json:"node,omitempty"`
	Target string            `json:"target,omitempty"`
	Args   map[string]string `json:"args,omitempty"`
	Began  time.Time         `json:"began"`
	// Changes are in the order in which they are made; they are taken back in
	// the other.
	Changes []Change `json:"changes"`
}

// Book keeps the faults of a lab. It may be used by several goroutines, and
// one process at a time.
type Book struct {
	Dir   string // of the records; made if missing
	Kinds Kinds
	// Look finds out how the lab is now.
	Look func(ctx context.Context) (Lab, error)
	Now  func() time.Time

	mu   sync.Mutex
	busy map[string]bool // faults that are being made or mended at this moment
}

// ErrBroken is the error of a break of what is broken already.
var ErrBroken = errors.New("is broken already")

// ErrNotBroken is the error of a mend of what is not broken.
var ErrNotBroken = errors.New("there is no such fault")

// Break plays a card. After an error everything is as before.
func (b *Book) Break(ctx context.Context, want Ask) (Fault, error) {
	card, err := Find(want.Card)
	if err != nil {
		return Fault{}, err
	}
	lab, err := b.Look(ctx)
	if err != nil {
		return Fault{}, err
	}
	a, err := card.resolve(lab, want)
	if err != nil {
		return Fault{}, err
	}
	f := Fault{ID: a.id, Card: card.Name, Node: a.node.Name, Target: a.target, Args: a.args}
	err = step.Do(ctx, f.action(step.Break), func(ctx context.Context) error {
		if f.Changes, err = card.plan(lab, a); err != nil {
			return err
		}
		if card.Hidden {
			ctx = step.With(ctx, nil) // what really runs would say what is broken
		}
		return b.apply(ctx, &f)
	})
	return f, err
}

func (f Fault) action(verb step.Verb) step.Action {
	return step.Action{Actor: Actor, Node: f.Node, Verb: verb, Object: step.Object{Resource: "faults", Name: f.ID},
		Detail: step.FaultDetail{ID: f.ID, Card: f.Card, Node: f.Node, Target: f.Target, Args: f.Args}}
}

// apply writes the record and makes the changes.
func (b *Book) apply(ctx context.Context, f *Fault) error {
	release, err := b.take(f)
	if err != nil {
		return err
	}
	defer release()
	if err := b.free(f); err != nil {
		return err
	}
	for i := range f.Changes {
		if err := b.read(ctx, &f.Changes[i]); err != nil {
			return err
		}
	}
	f.Began = b.Now()
	if err := b.write(f); err != nil {
		return err
	}
	for _, c := range f.Changes {
		err := c.within(func(n *link.Net) error { return b.Kinds[c.Kind].Apply(ctx, n, c) })
		if err != nil {
			return errors.Join(err, b.undo(context.WithoutCancel(ctx), *f))
		}
	}
	return nil
}

// read completes a change by what is there before it.
func (b *Book) read(ctx context.Context, c *Change) (err error) {
	kind, ok := b.Kinds[c.Kind]
	if !ok {
		return wrong("this lab cannot change a %s", c.Kind)
	}
	if c.NS != "" {
		if c.Cookie, err = cookie(c.NS); err != nil {
			return err
		}
	}
	return c.within(func(n *link.Net) error {
		c.Was, err = kind.Read(ctx, n, *c)
		return err
	})
}

// take reserves what a fault changes until release is called. The lock is not
// held meanwhile: a change may be a request that waits in a held lab.
func (b *Book) take(f *Fault) (release func(), err error) {
	names := []string{f.ID}
	for _, c := range f.Changes {
		names = append(names, c.Kind+" "+c.NS+" "+c.Key)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, name := range names {
		if b.busy[name] {
			return nil, fmt.Errorf("the fault %s, or what it changes, is being broken or mended at this moment: try again", f.ID)
		}
	}
	if b.busy == nil {
		b.busy = map[string]bool{}
	}
	for _, name := range names {
		b.busy[name] = true
	}
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, name := range names {
			delete(b.busy, name)
		}
	}, nil
}

// free tells whether none of the fault's changes is part of another one.
func (b *Book) free(f *Fault) error {
	list, err := b.List()
	if err != nil {
		return err
	}
	for _, other := range list {
		if other.ID == f.ID {
			return fmt.Errorf("%s %w, since %s: \"klab mend %s\" first", f.ID, ErrBroken, other.Began.Format(time.TimeOnly), f.ID)
		}
		for _, c := range f.Changes {
			if slices.ContainsFunc(other.Changes, c.same) {
				return fmt.Errorf("the %s %s %w, by %s: \"klab mend %s\" first", c.Kind, c.Key, ErrBroken, other.ID, other.ID)
			}
		}
	}
	return nil
}

// Mend takes a fault back.
func (b *Book) Mend(ctx context.Context, id string) (Fault, error) {
	f, err := b.fault(id)
	if err != nil {
		return f, err
	}
	err = step.Do(ctx, f.action(step.Mend), func(ctx context.Context) error {
		release, err := b.take(&f)
		if err != nil {
			return err
		}
		defer release()
		return b.undo(ctx, f)
	})
	return f, err
}

// MendAll takes all faults back, the newest first, and returns those that it
// has mended.
func (b *Book) MendAll(ctx context.Context) ([]Fault, error) {
	list, err := b.List()
	var mended []Fault
	for _, f := range slices.Backward(list) {
		if _, one := b.Mend(ctx, f.ID); one != nil {
			err = errors.Join(err, fmt.Errorf("mend %s: %w", f.ID, one))
			continue
		}
		mended = append(mended, f)
	}
	return mended, err
}

// undo restores what was, and forgets the fault when that is done.
func (b *Book) undo(ctx context.Context, f Fault) error {
	var errs []error
	for _, c := range slices.Backward(f.Changes) {
		kind, ok := b.Kinds[c.Kind]
		if !ok {
			errs = append(errs, wrong("this lab cannot change a %s", c.Kind))
			continue
		}
		errs = append(errs, c.within(func(n *link.Net) error { return kind.Restore(ctx, n, c) }))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("mend %s: %w", f.ID, err)
	}
	err := os.Remove(b.file(f.ID))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Renew is for a lab that has been built anew, wholly or in part: it forgets
// faults whose namespaces or links have ended, and makes those again that were
// repaired by building.
func (b *Book) Renew(ctx context.Context) error {
	list, err := b.List()
	errs := []error{err}
	for _, f := range list {
		ended := true
		for _, c := range f.Changes {
			there, err := b.renew(ctx, c)
			errs = append(errs, err)
			ended = ended && !there && err == nil
		}
		if ended {
			_, err := b.Mend(ctx, f.ID)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (b *Book) renew(ctx context.Context, c Change) (there bool, err error) {
	err = c.within(func(n *link.Net) error {
		there = true
		if _, ok := b.Kinds[c.Kind].(Renewer); !ok {
			return nil
		}
		return b.Kinds[c.Kind].Apply(ctx, n, c)
	})
	if gone(err) {
		return false, nil
	}
	return there, err
}

func (b *Book) file(id string) string { return filepath.Join(b.Dir, id+".json") }

// fault reads the record of a fault.
func (b *Book) fault(id string) (f Fault, err error) {
	if id == "" || strings.ContainsRune(id, filepath.Separator) {
		return f, fmt.Errorf("%w as %q", ErrNotBroken, id)
	}
	data, err := os.ReadFile(b.file(id))
	if errors.Is(err, fs.ErrNotExist) {
		return f, fmt.Errorf("%w as %q: \"klab break\" lists what is broken", ErrNotBroken, id)
	}
	if err != nil {
		return f, err
	}
	if err := json.Unmarshal(data, &f); err != nil {
		return f, fmt.Errorf("the record %s is damaged: %w", b.file(id), err)
	}
	return f, nil
}

// List returns the faults that there are, the oldest first.
func (b *Book) List() ([]Fault, error) {
	entries, err := os.ReadDir(b.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var list []Fault
	var errs []error
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok {
			continue
		}
		f, err := b.fault(id)
		switch {
		case errors.Is(err, ErrNotBroken): // mended meanwhile
		case err != nil:
			errs = append(errs, err)
		default:
			list = append(list, f)
		}
	}
	slices.SortStableFunc(list, func(a, b Fault) int { return a.Began.Compare(b.Began) })
	return list, errors.Join(errs...)
}

// write puts the record on disk at once, so that a kill leaves all of it or
// nothing.
func (b *Book) write(f *Fault) error {
	data, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(b.Dir, 0o755); err != nil {
		return err
	}
	tmp := b.file(f.ID) + ".new"
	if err := os.WriteFile(tmp, append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, b.file(f.ID))
}
