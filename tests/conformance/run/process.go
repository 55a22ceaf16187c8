package run

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// A Result says how one test ended.
type Result struct {
	Name    string
	Passed  bool
	Seconds float64
	// Error is what the test said first when it failed, in one line.
	Error string
}

// A Process is the suite's program and what it needs to know.
type Process struct {
	Program, Kubeconfig, Kubectl string
	// Limit is how long one test may take. A test that takes longer is
	// interrupted, so that it cleans up, and then killed after Grace.
	Limit, Grace time.Duration
}

// An event is a line that the program writes when a test begins and ends.
type event struct {
	Name, State, Error string
	Seconds            float64
}

// Run runs tests one after another in one process, and calls done for each. It
// returns the tests that got no result because the process ended before them,
// which is so after a test that was killed.
func (p Process) Run(ctx context.Context, tests []string, log string, done func(Result)) (left []string, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return tests, err
	}
	defer r.Close()
	out, err := os.Create(log)
	if err != nil {
		return tests, err
	}
	defer out.Close()
	// Some tests leave files of kubectl's.
	temporary, err := os.MkdirTemp("", "e2e-")
	if err != nil {
		return tests, err
	}
	defer os.RemoveAll(temporary)
	cmd := exec.Command(p.Program, p.arguments(tests)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+temporary)
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = out, out, []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return tests, err
	}
	w.Close()
	f := follower{Process: p, cmd: cmd, left: tests, done: done}
	f.follow(ctx, read(r))
	waited := cmd.Wait()
	if f.current != "" && ctx.Err() == nil {
		f.finish(Result{Name: f.current, Seconds: time.Since(f.began).Seconds(), Error: fmt.Sprintf("the suite's program ended within the test: %v", waited)})
	}
	if f.results == 0 && ctx.Err() == nil {
		return f.left, fmt.Errorf("the suite's program ran no test (%v); its output is in %s", waited, log)
	}
	return f.left, ctx.Err()
}

func (p Process) arguments(tests []string) []string {
	quoted := make([]string, len(tests))
	for i, t := range tests {
		quoted[i] = regexp.QuoteMeta(t)
	}
	return []string{
		"-events-fd=3", "--kubeconfig=" + p.Kubeconfig, "--kubectl-path=" + p.Kubectl, "--provider=skeleton", "--disable-log-dump",
		"--ginkgo.silence-skips", "--ginkgo.no-color", "--ginkgo.timeout=24h", "--ginkgo.focus= (" + strings.Join(quoted, "|") + ")$",
	}
}

// read returns the events that come from r until it ends.
func read(r *os.File) <-chan event {
	events := make(chan event)
	go func() {
		defer close(events)
		in := bufio.NewReader(r)
		for {
			line, err := in.ReadBytes('\n')
			if err != nil {
				return
			}
			var e event
			if json.Unmarshal(line, &e) == nil {
				events <- e
			}
		}
	}()
	return events
}

// A follower watches one process.
type follower struct {
	Process
	cmd     *exec.Cmd
	left    []string
	done    func(Result)
	current string
	began   time.Time
	results int
}

func (f *follower) follow(ctx context.Context, events <-chan event) {
	late := time.NewTimer(f.Limit)
	defer late.Stop()
	interrupted := false
	stop := ctx.Done()
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return
			}
			if !interrupted { // or it has Grace for all that is left, and not for each test
				late.Reset(f.Limit)
			}
			if e.State == "" {
				f.current, f.began = e.Name, time.Now()
				continue
			}
			if interrupted && e.State != "passed" {
				e.Error = fmt.Sprintf("took longer than %s: %s", f.Limit, e.Error)
			}
			if ctx.Err() == nil {
				f.finish(Result{Name: e.Name, Passed: e.State == "passed", Seconds: e.Seconds, Error: firstLine(e)})
			}
		case <-late.C:
			f.end(interrupted)
			interrupted = true
			late.Reset(f.Grace)
		case <-stop:
			stop = nil
			f.end(false)
			interrupted = true
			late.Reset(f.Grace)
		}
	}
}

// end interrupts the process, or kills it if it was interrupted before.
func (f *follower) end(before bool) {
	signal := syscall.SIGINT
	if before {
		signal = syscall.SIGKILL
	}
	_ = f.cmd.Process.Signal(signal)
}

func (f *follower) finish(r Result) {
	f.current = ""
	f.results++
	for i, name := range f.left {
		if name == r.Name {
			f.left = append(append([]string{}, f.left[:i]...), f.left[i+1:]...)
			break
		}
	}
	f.done(r)
}

var (
	random = regexp.MustCompile(`0x[0-9a-f]+|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\b[0-9a-f]{12,64}\b`)
	serial = regexp.MustCompile(`([a-z])-([0-9]{2,5}|[bcdfghjklmnpqrstvwxz2456789]{5})\b`)
)

// firstLine makes one line of the beginning of an error, without objects in
// JSON and without what differs from run to run.
func firstLine(e event) string {
	if e.State == "passed" {
		return ""
	}
	if e.Error == "" {
		return e.State
	}
	var lines []string
	for line := range strings.Lines(e.Error) {
		line = strings.Join(strings.Fields(line), " ")
		if strings.Trim(line, "{}[](),: ") != "" && line[0] != '"' && len(lines) < 4 {
			lines = append(lines, line)
		}
	}
	text := random.ReplaceAllString(strings.Join(lines, " "), "…")
	text = serial.ReplaceAllString(text, "$1-…")
	if r := []rune(text); len(r) > 240 {
		text = string(r[:239]) + "…"
	}
	return text
}
