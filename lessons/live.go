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
	"strings"

	"github.com/klab-project/klab/core/step/remote"
)

// Live is the Host of a running cluster.
type Live struct {
	*remote.Client
	// Command is the kubectl of this cluster, with these arguments.
	Command func(ctx context.Context, args ...string) *exec.Cmd
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

// Solve runs the lesson's solution.sh, with kubectl and klab in its PATH, and returns
// the line that it is about.
func (l *Live) Solve(ctx context.Context, of *Lesson) (string, error) {
	script, err := fs.ReadFile(of.Files, "solution.sh")
	if err != nil {
		return "", err
	}
	line := ""
	for text := range strings.Lines(string(script)) {
		if text = strings.TrimSpace(text); text != "" && !strings.HasPrefix(text, "#") {
			line = strings.TrimPrefix(text, "exec ")
		}
	}
	dir, err := os.MkdirTemp("", "klab-solution-")
	if err != nil {
		return line, err
	}
	defer os.RemoveAll(dir)
	kubectl := l.Command(ctx)
	for name, cmd := range map[string]*exec.Cmd{"kubectl": kubectl, "klab": l.Self(ctx)} {
		if err := wrap(filepath.Join(dir, name), cmd.Args[1:]); err != nil {
			return line, err
		}
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", string(script))
	cmd.Env = append(kubectl.Env, "PATH="+dir+":"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return line, fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
	}
	return line, nil
}

// wrap writes a script that runs klab with these arguments and its own.
func wrap(path string, args []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var text strings.Builder
	fmt.Fprintf(&text, "#!/bin/sh\nexec %s", quote(self))
	for _, arg := range args {
		text.WriteString(" " + quote(arg))
	}
	text.WriteString(" \"$@\"\n")
	return os.WriteFile(path, []byte(text.String()), 0o700)
}

// quote makes one word of a shell's.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
