// Package run runs official tests: in processes beside each other, each test
// with a limit of time, those that must be alone at the end; and keeps the table
// of what passed.
package run

import (
	"context"
	"errors"
	"sync"

	"github.com/klab-project/klab/tests/conformance/catalog"
)

// batch is how many tests one process runs: starting one takes about a second
// of work.
const batch = 6

// All runs tests, procs processes at a time, and at last those that must run
// alone. one runs some tests in one process and returns those left over.
func All(ctx context.Context, tests []catalog.Test, procs int, one func(ctx context.Context, names []string) ([]string, error)) error {
	var together, alone []string
	for _, t := range tests {
		if t.Serial() {
			alone = append(alone, t.Name)
		} else {
			together = append(together, t.Name)
		}
	}
	return errors.Join(drain(ctx, together, procs, one), drain(ctx, alone, 1, one))
}

func drain(ctx context.Context, names []string, procs int, one func(context.Context, []string) ([]string, error)) error {
	q := &queue{names: names}
	var wg sync.WaitGroup
	errs := make([]error, procs)
	for i := range procs {
		wg.Go(func() {
			for ctx.Err() == nil {
				some := q.take(procs)
				if len(some) == 0 {
					return
				}
				left, err := one(ctx, some)
				if err != nil {
					errs[i] = err
					return
				}
				q.back(left)
			}
		})
	}
	wg.Wait()
	return errors.Join(append(errs, ctx.Err())...)
}

// A queue has the tests that wait.
type queue struct {
	mu    sync.Mutex
	names []string
}

// take returns the next tests: fewer towards the end, so that every process has
// work until then.
func (q *queue) take(procs int) []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(batch, (len(q.names)+procs-1)/procs)
	some := q.names[:n]
	q.names = q.names[n:]
	return some
}

func (q *queue) back(names []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.names = append(q.names[:len(q.names):len(q.names)], names...)
}
