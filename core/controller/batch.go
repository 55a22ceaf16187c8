package controller

import (
	"errors"
	"sync"
)

// slowStart calls f n times in batches of 1, 2, 4, …, and stops after a batch
// with an error: what fails for one is likely to fail for all.
func slowStart(n int, f func() error) (done int, err error) {
	for batch := 1; done < n; batch *= 2 {
		size := min(batch, n-done)
		ok, err := atOnce(size, func(int) error { return f() })
		done += ok
		if errors.Is(err, errNamespaceEnds) {
			return done, nil
		}
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// atOnce calls f for 0…n-1 at the same time and returns how many succeeded,
// and the first error.
func atOnce(n int, f func(int) error) (ok int, err error) {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			defer recovered(&errs[i])
			errs[i] = f(i)
		})
	}
	wg.Wait()
	for _, e := range errs {
		if e == nil {
			ok++
		} else if err == nil {
			err = e
		}
	}
	return ok, err
}
