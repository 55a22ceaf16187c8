package run_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klab-project/klab/tests/conformance/catalog"
	"github.com/klab-project/klab/tests/conformance/run"
	"github.com/stretchr/testify/require"
)

func readPage(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../../docs/conformance.md")
	require.NoError(t, err)
	return string(b)
}

// program makes a shell script that stands for the suite's program.
func program(t *testing.T, script string) run.Process {
	t.Helper()
	file := filepath.Join(t.TempDir(), "e2e.test")
	require.NoError(t, os.WriteFile(file, []byte("#!/bin/bash\n"+script), 0o755))
	return run.Process{Program: file, Limit: time.Minute, Grace: time.Minute}
}

func collect(t *testing.T, p run.Process, names ...string) (results []run.Result, left []string, err error) {
	t.Helper()
	left, err = p.Run(t.Context(), names, filepath.Join(t.TempDir(), "log"), func(r run.Result) { results = append(results, r) })
	return results, left, err
}

func TestProcessReportsEachTest(t *testing.T) {
	p := program(t, `
echo '{"name":"one"}' >&3
echo '{"name":"one","state":"passed","seconds":1.5}' >&3
echo '{"name":"two"}' >&3
echo '{"name":"two","state":"failed","seconds":2,"error":"pod pods-1234 of\n  6f1ed002-ab5d-4d5e-a1b2-0123456789ab is late"}' >&3`)
	results, left, err := collect(t, p, "one", "two", "three")
	require.NoError(t, err)
	require.Equal(t, []string{"three"}, left)
	require.Equal(t, []run.Result{
		{Name: "one", Passed: true, Seconds: 1.5},
		{Name: "two", Seconds: 2, Error: "pod pods-… of … is late"},
	}, results)
}

func TestProcessLeavesNoFiles(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	p := program(t, `mktemp >"$0.file"; echo '{"name":"x","state":"passed"}' >&3`)
	_, _, err := collect(t, p, "x")
	require.NoError(t, err)
	made, err := os.ReadFile(p.Program + ".file")
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(made), tmp+"/"), "%s", made)
	left, err := filepath.Glob(tmp + "/e2e-*")
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestProcessAsksForExactlyTheTests(t *testing.T) {
	p := program(t, `printf '%s\n' "$@" >"$0.args"; echo '{"name":"x","state":"passed"}' >&3`)
	_, _, err := collect(t, p, "[sig-node] a (b)", "c")
	require.NoError(t, err)
	args, err := os.ReadFile(p.Program + ".args")
	require.NoError(t, err)
	require.Contains(t, string(args), `--ginkgo.focus= (\[sig-node\] a \(b\)|c)$`)
}

func TestProcessThatRunsNothingIsAnError(t *testing.T) {
	_, left, err := collect(t, program(t, "echo no cluster; exit 1"), "one")
	require.ErrorContains(t, err, "ran no test (exit status 1)")
	require.Equal(t, []string{"one"}, left)
}

func TestProcessThatEndsWithinATestFailsIt(t *testing.T) {
	results, left, err := collect(t, program(t, `echo '{"name":"one"}' >&3; exit 7`), "one", "two")
	require.NoError(t, err)
	require.Equal(t, []string{"two"}, left)
	require.Contains(t, results[0].Error, "ended within the test: exit status 7")
}

func TestLateTestIsInterruptedAndThenKilled(t *testing.T) {
	results, _, limit := late(t, program(t, `
trap 'echo "{\"name\":\"one\",\"state\":\"interrupted\",\"error\":\"Interrupted by User\"}" >&3; exit 1' INT
echo '{"name":"one"}' >&3
while :; do sleep 0.01; done`), "one")
	require.Equal(t, fmt.Sprintf("took longer than %s: Interrupted by User", limit), results[0].Error)

	p := program(t, `trap '' INT; echo '{"name":"one"}' >&3; while :; do sleep 0.01; done`)
	p.Grace = 10 * time.Millisecond
	results, left, _ := late(t, p, "one", "two")
	require.Contains(t, results[0].Error, "signal: killed")
	require.Equal(t, []string{"two"}, left)
}

// late runs a program that takes too long, with as short a limit as lets its
// first test begin.
func late(t *testing.T, p run.Process, names ...string) (results []run.Result, left []string, limit time.Duration) {
	t.Helper()
	for p.Limit = 200 * time.Millisecond; len(results) == 0; p.Limit *= 3 {
		require.Less(t, p.Limit, 2*time.Minute, "no test begins")
		results, left, _ = collect(t, p, names...)
		limit = p.Limit
	}
	return results, left, limit
}

func TestInterruptedProcessThatGoesOnIsKilled(t *testing.T) {
	p := program(t, `trap '' INT; while :; do echo '{"name":"one"}' >&3; sleep 0.01; done`)
	p.Limit, p.Grace = time.Hour, 50*time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	left, err := p.Run(ctx, []string{"one"}, filepath.Join(t.TempDir(), "log"), func(r run.Result) { require.Fail(t, "no result", "%v", r) })
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, []string{"one"}, left)
}

func TestAllRunsEachTestOnceAndSerialOnesAloneAtTheEnd(t *testing.T) {
	var mu sync.Mutex
	running, again := 0, false
	var order []string
	seconds := func(name string) int { return len(name) }
	one := func(_ context.Context, names []string) ([]string, error) {
		mu.Lock()
		running++
		beside := running - 1
		order = append(order, names...)
		// One process ends early, once: its last test comes back.
		var left []string
		if !again && len(names) > 1 {
			again, left = true, names[len(names)-1:]
			order = order[:len(order)-1]
		}
		mu.Unlock()
		for _, name := range names {
			require.False(t, strings.Contains(name, "[Serial]") && beside > 0, "%s is not alone", name)
		}
		mu.Lock()
		running--
		mu.Unlock()
		return left, nil
	}
	all := catalog.All()
	require.NoError(t, run.All(t.Context(), all, 4, seconds, one))
	require.Len(t, order, len(all))
	first := slices.IndexFunc(order, func(name string) bool { return catalog.Test{Name: name}.Serial() })
	for _, name := range order[first:] {
		require.True(t, catalog.Test{Name: name}.Serial(), name)
	}
	slices.Sort(order)
	require.Len(t, slices.Compact(order), len(all))
}

func TestTheLongestTestsAreFirstAndShareNoProcess(t *testing.T) {
	seconds := map[string]int{"a": 1, "b": 200, "c": 10, "d": 1, "e": 25, "f": 1}
	var all []catalog.Test
	for _, name := range slices.Sorted(maps.Keys(seconds)) {
		all = append(all, catalog.Test{Name: name})
	}
	var batches []string
	require.NoError(t, run.All(t.Context(), all, 1, func(name string) int { return seconds[name] }, func(_ context.Context, names []string) ([]string, error) {
		batches = append(batches, strings.Join(names, ""))
		return nil, nil
	}))
	require.Equal(t, []string{"b", "e", "cadf"}, batches)
}

func TestAllEndsWhenItIsTold(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	seconds := func(string) int { return 1 }
	err := run.All(ctx, catalog.All(), 2, seconds, func(context.Context, []string) ([]string, error) {
		cancel()
		return nil, nil
	})
	require.ErrorIs(t, err, context.Canceled)
}
