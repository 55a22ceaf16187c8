// Conformance runs the official tests of Kubernetes against klab: it makes the
// test images, starts a fresh cluster of its own, runs the chosen tests in it,
// writes docs/conformance.md and takes the cluster down. `make conformance`
// builds what it needs and starts it here.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/klab-project/klab/tests/conformance/catalog"
	"github.com/klab-project/klab/tests/conformance/images"
	"github.com/klab-project/klab/tests/conformance/run"
)

type options struct {
	class, sig, focus, only     string
	list, keep, imagesOnly      bool
	procs, nodes                int
	limit                       time.Duration
	bin, cache, page, name, use string
}

func main() {
	var o options
	flag.StringVar(&o.class, "class", "b", "classes of tests, perhaps with a SIG: a1, b:sig-node, a1,a2, all")
	flag.StringVar(&o.sig, "sig", "", "only this SIG")
	flag.StringVar(&o.focus, "focus", "", "only tests whose name fits this regular expression")
	flag.StringVar(&o.only, "only", "", "\"failed\": only tests that have not passed yet; \"quick\": no slow and no serial ones")
	flag.BoolVar(&o.list, "list", false, "print the tests that are meant, and run none")
	flag.BoolVar(&o.imagesOnly, "images", false, "make the images, print their files, and run nothing")
	flag.BoolVar(&o.keep, "keep", false, "leave the cluster up")
	flag.StringVar(&o.use, "kubeconfig", "", "use this cluster, which has the images, instead of a fresh one")
	flag.IntVar(&o.procs, "procs", 4, "tests at a time")
	flag.IntVar(&o.nodes, "nodes", 2, "nodes of the cluster")
	flag.DurationVar(&o.limit, "limit", 10*time.Minute, "how long one test may take")
	flag.StringVar(&o.bin, "bin", "../../bin", "where klab, e2e.test and e2e.kubectl are, and logs go")
	flag.StringVar(&o.cache, "cache", defaultCache(), "where packages and images are kept")
	flag.StringVar(&o.page, "page", "../../docs/conformance.md", "the page with the results")
	flag.StringVar(&o.name, "name", "conformance", "the cluster's name")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := conformance(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func defaultCache() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	return filepath.Join(dir, "klab", "conformance")
}

func conformance(ctx context.Context, o options) error {
	tests, err := choose(o)
	if err != nil {
		return err
	}
	if o.list {
		for _, t := range tests {
			fmt.Println(t.Class, t.Name)
		}
		return nil
	}
	if len(tests) == 0 {
		fmt.Println("every chosen test has passed already")
		return nil
	}
	var files []string
	if o.use == "" || o.imagesOnly {
		if files, err = makeImages(ctx, o); err != nil || o.imagesOnly {
			return err
		}
	}
	bin, err := filepath.Abs(o.bin)
	if err != nil {
		return err
	}
	kubeconfig := o.use
	if kubeconfig == "" {
		c := cluster{klab: filepath.Join(bin, "klab"), name: o.name}
		if !o.keep {
			defer c.down()
		}
		if kubeconfig, err = c.up(ctx, o.nodes, files); err != nil {
			return err
		}
	}
	logs := filepath.Join(bin, "conformance")
	if err := errors.Join(os.RemoveAll(logs), os.MkdirAll(logs, 0o755)); err != nil {
		return err
	}
	p := run.Process{
		Program: filepath.Join(bin, "e2e.test"), Kubeconfig: kubeconfig, Kubectl: filepath.Join(bin, "e2e.kubectl"),
		Limit: o.limit, Grace: 30 * time.Second,
	}
	return runTests(ctx, o, p, tests, logs)
}

func choose(o options) ([]catalog.Test, error) {
	tests, err := catalog.Select(o.class, o.sig, o.focus)
	if err != nil {
		return nil, err
	}
	table, err := readTable(o.page)
	if err != nil {
		return nil, err
	}
	var chosen []catalog.Test
	for _, t := range tests {
		switch o.only {
		case "":
		case "failed":
			if table.Passed(t.Name) {
				continue
			}
		case "quick":
			if t.Slow() || t.Serial() {
				continue
			}
		default:
			return nil, fmt.Errorf("ONLY=%s means nothing: say failed or quick", o.only)
		}
		chosen = append(chosen, t)
	}
	return chosen, nil
}

func makeImages(ctx context.Context, o options) ([]string, error) {
	src, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	b, err := images.NewBuilder(ctx, o.cache, src)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, img := range images.All() {
		file, err := b.Build(ctx, img)
		if err != nil {
			return nil, err
		}
		if o.imagesOnly {
			fmt.Println(file)
		}
		files = append(files, file)
	}
	return files, nil
}

// runTests runs tests, says how each ended, and writes the page when all have.
func runTests(ctx context.Context, o options, p run.Process, tests []catalog.Test, logs string) error {
	var mu sync.Mutex
	var results []run.Result
	failed, batches := 0, 0
	before, err := readTable(o.page)
	if err != nil {
		return err
	}
	fmt.Printf("%d tests, %d at a time, the longest first; what each process says is in %s\n", len(tests), o.procs, logs)
	err = run.All(ctx, tests, o.procs, before.Seconds, func(ctx context.Context, names []string) ([]string, error) {
		mu.Lock()
		batches++
		log := filepath.Join(logs, fmt.Sprintf("%03d.log", batches))
		mu.Unlock()
		return p.Run(ctx, names, log, func(r run.Result) {
			mu.Lock()
			defer mu.Unlock()
			results = append(results, r)
			word := "passed"
			if !r.Passed {
				failed++
				word = "FAILED"
			}
			fmt.Printf("%3d/%d %s %4.0fs %s\n", len(results), len(tests), word, r.Seconds, r.Name)
			if !r.Passed {
				fmt.Printf("        %s\n        all of it: %s\n", r.Error, log)
			}
		})
	})
	if werr := updatePage(o.page, results); werr != nil {
		return errors.Join(err, werr)
	}
	fmt.Printf("%d of %d passed, %d failed; the table is %s, logs are in %s\n", len(results)-failed, len(tests), failed, o.page, logs)
	if err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d tests failed", failed, len(tests))
	}
	return nil
}

func readTable(page string) (run.Table, error) {
	b, err := os.ReadFile(page)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return run.Table{}, err
	}
	return run.ParseTable(string(b)), nil
}

func updatePage(page string, results []run.Result) error {
	table, err := readTable(page)
	if err != nil {
		return err
	}
	for _, r := range results {
		table.Merge(r)
	}
	return os.WriteFile(page, []byte(table.Page(catalog.All())), 0o644)
}
