// Package run runs official tests: in processes beside each other, each test
// with a limit of time, those that must be alone at the end; and keeps the table
// of what passed.
package run

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/klab-project/klab/tests/conformance/catalog"
)

// One process runs up to batch tests, because starting one takes about a second
// of work; and fewer if they take longer than long seconds.
const (
	batch = 6
	long  = 30
)

// All runs tests, procs processes at a time, the longest first, and at last
// those that must run alone. seconds says how long a test may take; one runs
// some tests in one process and returns those left over.
func All(ctx context.Context, tests []catalog.Test, procs int, seconds func(name string) int, one func(ctx context.Context, names []string) ([]string, error)) error {
	tests = slices.Clone(tests)
	slices.SortStableFunc(tests, func(a, b catalog.Test) int { return cmp.Compare(seconds(b.Name), seconds(a.Name)) })
	var together, alone []string
	for _, t := range tests {
		if t.Serial() {
			alone = append(alone, t.Name)
		} else {
			together = append(together, t.Name)
		}
	}
	return errors.Join(drain(ctx, &queue{names: together, seconds: seconds}, procs, one), drain(ctx, &queue{names: alone, seconds: seconds}, 1, one))
}

func drain(ctx context.Context, q *queue, procs int, one func(context.Context, []string) ([]string, error)) error {
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
	seconds func(string) int

	mu    sync.Mutex
	names []string
}

// take returns the next tests: fewer towards the end, so that every process has
// work until then.
func (q *queue) take(procs int) []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	most := min(batch, (len(q.names)+procs-1)/procs)
	n, total := 0, 0
	for n < most && (n == 0 || total+q.seconds(q.names[n]) <= long) {
		total += q.seconds(q.names[n])
		n++
	}
	some := q.names[:n]
	q.names = q.names[n:]
	return some
}

func (q *queue) back(names []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.names = append(q.names[:len(q.names):len(q.names)], names...)
}
