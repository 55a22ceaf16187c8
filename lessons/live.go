package lessons

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klab-project/klab/core/step/remote"
)

// Live is the Host of a running cluster.
type Live struct {
	*remote.Client
	// Command is the kubectl of this cluster, with these arguments.
	Command func(ctx context.Context, args ...string) *exec.Cmd
	// Backwards solves the goals of a step from the last to the first.
	Backwards bool
	// Self is klab itself with these arguments, for this cluster.
	Self func(ctx context.Context, args ...string) *exec.Cmd
}

// Kubectl implements Host.
func (l *Live) Kubectl(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := l.Command(ctx, args...)
	cmd.Stdin = strings.NewReader(stdin)
	return output(cmd)
}

// Klab implements Host.
func (l *Live) Klab(ctx context.Context, args ...string) (string, error) {
	return output(l.Self(ctx, args...))
}

func output(cmd *exec.Cmd) (string, error) {
	out, err := cmd.CombinedOutput()
	text := strings.TrimSpace(string(bytes.ToValidUTF8(out, []byte("?"))))
	var exit *exec.ExitError
	if errors.As(err, &exit) && text != "" {
		err = errors.New(text)
	}
	return text, err
}

// Solve runs the lesson's solution of a step, and returns the line that it is
// about: solution-ID.sh for the step or for each of its goals, or else solution.sh.
func (l *Live) Solve(ctx context.Context, of *Lesson, s *Step) (string, error) {
	names := s.solutions(of.Files)
	if l.Backwards {
		slices.Reverse(names)
	}
	line := ""
	for _, name := range names {
		script, err := fs.ReadFile(of.Files, name)
		if err != nil {
			return "", err
		}
		for text := range strings.Lines(string(script)) {
			if text = strings.TrimSpace(text); text != "" && !strings.HasPrefix(text, "#") {
				line = strings.TrimPrefix(text, "exec ")
			}
		}
		if out, err := l.ShellIn(ctx, string(script), of); err != nil {
			return line, fmt.Errorf("%s: %w: %s", name, err, out)
		}
	}
	return line, nil
}

// solutions are the files of what the learner does in a step.
func (s *Step) solutions(files fs.FS) (list []string) {
	ids := []string{s.ID}
	for _, c := range s.Checks {
		if c.ID != s.ID {
			ids = append(ids, c.ID)
		}
	}
	for _, id := range ids {
		if _, err := fs.Stat(files, "solution-"+id+".sh"); err == nil {
			list = append(list, "solution-"+id+".sh")
		}
	}
	if len(list) == 0 {
		return []string{"solution.sh"}
	}
	return list
}

// Shell implements Host.
func (l *Live) Shell(ctx context.Context, line string) (string, error) {
	return l.ShellIn(ctx, line, nil)
}

// ShellIn is Shell, in a folder that has a lesson's files.
func (l *Live) ShellIn(ctx context.Context, line string, of *Lesson) (string, error) {
	dir, err := os.MkdirTemp("", "klab-shell-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	env, err := l.commands(dir)
	if err != nil {
		return "", err
	}
	work := filepath.Join(dir, "lesson")
	if err := os.Mkdir(work, 0o700); err != nil {
		return "", err
	}
	if of != nil {
		if err := os.CopyFS(work, of.Files); err != nil {
			return "", err
		}
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", line)
	cmd.Dir, cmd.Env, cmd.WaitDelay = work, env, time.Second
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(bytes.ToValidUTF8(out, []byte("?")))), err
}

// commands puts kubectl and klab, both for this cluster, into a folder, and
// returns the environment that finds them.
func (l *Live) commands(dir string) ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	kubectl := l.Command(context.Background())
	for name, cmd := range map[string]*exec.Cmd{"kubectl": kubectl, "klab": l.Self(context.Background())} {
		text := "#!/bin/sh\nexec " + quote(self)
		for _, arg := range cmd.Args[1:] {
			text += " " + quote(arg)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text+" \"$@\"\n"), 0o700); err != nil {
			return nil, err
		}
	}
	return append(kubectl.Env, "PATH="+dir+":"+os.Getenv("PATH"), "LC_ALL=C.UTF-8"), nil
}

// quote makes one word of a shell's.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
