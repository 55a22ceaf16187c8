package cni

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/containernetworking/cni/pkg/version"
)

// Runner takes calls through lists of plugins. It remembers each attachment's
// configuration and result, so that DEL and CHECK see what ADD saw.
type Runner struct {
	Plugins Finder
	Cache   string // a directory
}

// since says whether a version of the specification is at least another.
func since(v, first string) bool {
	ok, err := version.GreaterThanOrEqualTo(v, first)
	return ok && err == nil
}

// agree finds the version to speak: the highest of the configuration's that all
// its plugins have, or else its highest one, which a plugin will refuse in its
// own words.
func (r *Runner) agree(ctx context.Context, l *List) string {
	if len(l.Versions) < 2 {
		return l.CNIVersion
	}
	left := l.Versions
	for _, kind := range l.kinds() {
		p, err := r.Plugins.Find(kind)
		if err != nil {
			continue
		}
		v, ok := p.(Versioned)
		if !ok {
			continue
		}
		has, err := v.Versions(ctx)
		if err != nil {
			continue
		}
		left = slices.DeleteFunc(slices.Clone(left), func(v string) bool { return !slices.Contains(has, v) })
	}
	if len(left) == 0 {
		return l.CNIVersion
	}
	return left[len(left)-1]
}

// request is what one plugin of a list is called with.
func (r *Runner) request(l *List, i int, v string, c Call, prev *Result, valid []Owner) (Plugin, Call, error) {
	kind, err := l.kind(i)
	if err != nil {
		return nil, c, err
	}
	c.Path = r.Plugins
	if c.Config, err = l.stdin(i, v, prev, c.Capabilities, valid); err != nil {
		return nil, c, err
	}
	p, err := r.Plugins.Find(kind)
	return p, c, err
}

// failed says which plugin of a list did not do what it was asked for.
func (l *List) failed(i int, verb string, err error) error {
	kind, _ := l.kind(i)
	return fmt.Errorf("plugin type=%q name=%q failed (%s): %w", kind, l.Name, verb, err)
}

// Add calls ADD of every plugin in order, each with the result of the one
// before. If one fails, all are called with DEL.
func (r *Runner) Add(ctx context.Context, l *List, c Call) (*Result, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	v := r.agree(ctx, l)
	var result *Result
	var err error
	for i := range l.Plugins {
		p, call, bad := r.request(l, i, v, c, result, nil)
		if err = bad; err == nil {
			result, err = p.Add(ctx, call)
		}
		if err != nil {
			err = l.failed(i, "add", err)
			break
		}
	}
	if err == nil {
		err = r.remember(l, c, result, v)
	}
	if err != nil {
		return nil, errors.Join(err, r.Del(context.WithoutCancel(ctx), l, c))
	}
	result.CNIVersion = v
	return result, nil
}

// Del calls DEL of every plugin, the last first, and forgets the attachment
// once all have succeeded.
func (r *Runner) Del(ctx context.Context, l *List, c Call) error {
	if err := c.check(); err != nil {
		return err
	}
	v := r.agree(ctx, l)
	var prev *Result
	if a, err := r.recall(l, c); err == nil {
		if c.Capabilities = a.Said; since(v, "0.4.0") {
			prev, _ = a.Result() // without one DEL goes by the attachment's names
		}
	}
	for i := len(l.Plugins) - 1; i >= 0; i-- {
		p, call, err := r.request(l, i, v, c, prev, nil)
		if err == nil {
			err = p.Del(ctx, call)
		}
		if err != nil {
			return l.failed(i, "delete", err)
		}
	}
	if err := os.Remove(r.path(l, c)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget attachment: %w", err)
	}
	return nil
}

// ErrNoCheck is the error for a configuration of a version without CHECK.
var ErrNoCheck = errors.New("does not support the CHECK command")

// Check calls CHECK of every plugin: is all as ADD left it?
func (r *Runner) Check(ctx context.Context, l *List, c Call) error {
	v := r.agree(ctx, l)
	if !since(v, "0.4.0") {
		return fmt.Errorf("configuration version %q %w", v, ErrNoCheck)
	}
	if l.DisableCheck {
		return nil
	}
	a, err := r.recall(l, c)
	if err != nil {
		return fmt.Errorf("failed to get network %q cached result: %w", l.Name, err)
	}
	prev, err := a.Result()
	if err != nil {
		return fmt.Errorf("failed to get network %q cached result: %w", l.Name, err)
	}
	c.Capabilities = a.Said
	for i := range l.Plugins {
		p, call, err := r.request(l, i, v, c, prev, nil)
		if err == nil {
			err = p.Check(ctx, call)
		}
		if err != nil {
			return l.failed(i, "check", err)
		}
	}
	return nil
}

// Status calls STATUS of every plugin: can pods be attached? A plugin that is
// nowhere cannot, in any version of the specification.
func (r *Runner) Status(ctx context.Context, l *List) error {
	v := r.agree(ctx, l)
	for i := range l.Plugins {
		p, call, err := r.request(l, i, v, Call{}, nil, nil)
		if err == nil && since(v, "1.1.0") {
			err = p.Status(ctx, call)
		}
		if err != nil {
			return l.failed(i, "status", err)
		}
	}
	return nil
}

// GC calls GC of every plugin, to remove what belongs to none of the valid
// attachments. It goes on after one that fails.
func (r *Runner) GC(ctx context.Context, l *List, valid []Owner) error {
	v := r.agree(ctx, l)
	if l.DisableGC || !since(v, "1.1.0") {
		return nil
	}
	if valid == nil {
		valid = []Owner{}
	}
	var errs []error
	for i := range l.Plugins {
		p, call, err := r.request(l, i, v, Call{}, nil, valid)
		if err == nil {
			err = p.GC(ctx, call)
		}
		if err != nil {
			errs = append(errs, l.failed(i, "gc", err))
		}
	}
	return errors.Join(errs...)
}
