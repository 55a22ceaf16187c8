package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"mvdan.cc/sh/v3/shell"

	"github.com/klab-project/klab/core/cluster"
	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
	"github.com/klab-project/klab/core/step/recording"
	"github.com/klab-project/klab/core/step/remote"
)

// liveSource gives the events of a running cluster. A stream that breaks is
// opened again where it ended.
type liveSource struct {
	client *remote.Client
	stream *remote.Stream
	header step.Header
	next   uint64 // number of the stream's next event
}

func newLiveSource(ctx context.Context, c *remote.Client) (*liveSource, error) {
	s := &liveSource{client: c}
	return s, s.open(ctx, 1)
}

func (s *liveSource) open(ctx context.Context, from uint64) error {
	s.close()
	stream, err := s.client.Events(ctx, from-1, true)
	if err != nil {
		return err
	}
	s.stream, s.header, s.next = stream, stream.Header, from
	return nil
}

func (s *liveSource) close() {
	if s.stream != nil {
		s.stream.Close()
		s.stream = nil
	}
}

func (s *liveSource) Header() step.Header { return s.header }
func (s *liveSource) Live() bool          { return true }

// Next implements tui.Source. It is called by one goroutine.
func (s *liveSource) Next(ctx context.Context, from uint64) ([]*step.Event, error) {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		// Whatever goes wrong, the daemon may come back: the stream is opened again.
		var err error
		if s.stream == nil || s.next != from {
			err = s.open(ctx, from)
		}
		if err == nil {
			if batch, _ := s.stream.Next(); len(batch) > 0 {
				s.next = batch[len(batch)-1].Seq + 1
				return batch, nil
			}
		}
		s.close()
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// playback gives the events of a recording while it is being read.
type playback struct{ *recording.Playback }

func (p playback) Header() step.Header { return p.Playback.Header }
func (p playback) Live() bool          { return false }

// recorded gives the events of a recording in memory.
type recorded struct{ *recording.Recording }

func (r recorded) Header() step.Header { return r.Recording.Header }
func (r recorded) Live() bool          { return false }

// Next implements tui.Source.
func (r recorded) Next(_ context.Context, from uint64) ([]*step.Event, error) {
	if n := uint64(len(r.Events)); from <= n {
		return r.Events[from-1:], nil
	}
	return nil, io.EOF
}

// control is the learner's hand on a running cluster.
type control struct {
	*remote.Client
	dir cluster.Dir
}

// commandPatience ends a command that would go on for ever, such as a watch.
const commandPatience = 2 * time.Minute

// notWithin are the commands of klab that need a terminal of their own, go on
// until Ctrl+C, or begin or end the cluster that is looked at.
var notWithin = []string{"tui", "lesson", "expose", "up", "down"}

// Run runs a kubectl command line, as written in a shell but without a shell, or
// one of klab.
func (c control) Run(ctx context.Context, line string) (string, error) {
	args, err := shell.Fields(line, func(string) string { return "" })
	if err != nil {
		return "", fmt.Errorf("%q: %w", line, err)
	}
	ctx, cancel := context.WithTimeout(ctx, commandPatience)
	defer cancel()
	var cmd *exec.Cmd
	switch {
	case len(args) > 0 && slices.Contains([]string{"packet", "break", "mend", "dns"}, args[0]):
		cmd = selfCommand(ctx, c.dir, args...)
	case len(args) > 1 && args[0] == "klab" && slices.Contains(notWithin, args[1]):
		return "", fmt.Errorf("klab %s is not for this line, as it needs a terminal, goes on until Ctrl+C, or begins or ends the cluster: leave with q, or use another terminal", args[1])
	case len(args) > 0 && args[0] == "klab":
		cmd = selfCommand(ctx, c.dir, args[1:]...)
	case len(args) > 0 && args[0] == "kubectl":
		cmd = kubectlCommand(ctx, c.dir, args[1:]...)
	default:
		cmd = kubectlCommand(ctx, c.dir, args...)
	}
	out, err := cmd.CombinedOutput()
	return strings.TrimRight(string(bytes.ToValidUTF8(out, []byte("?"))), "\n"), err
}

// Shell is a shell in a pod, or in the namespaces of a node.
func (c control) Shell(ctx context.Context, of fold.Key) (*exec.Cmd, error) {
	switch of.Resource {
	case "pods":
		return kubectlCommand(ctx, c.dir, "exec", "-it", "-n", of.Namespace, of.Name, "--", "sh"), nil
	case "nodes":
		ns := filepath.Join(c.dir.Path, "nodes", of.Name, "ns")
		shell := cmp.Or(os.Getenv("SHELL"), "/bin/sh")
		cmd := exec.CommandContext(ctx, "nsenter", "--net="+filepath.Join(ns, "net"), "--uts="+filepath.Join(ns, "uts"), "--mount="+filepath.Join(ns, "mnt"), shell)
		cmd.Env = append(os.Environ(), "PS1="+of.Name+"# ")
		return cmd, nil
	}
	return nil, fmt.Errorf("%s is neither a pod nor a node", of)
}

// kubectlCommand is the built-in kubectl as a process of its own.
func kubectlCommand(ctx context.Context, d cluster.Dir, args ...string) *exec.Cmd {
	cmd := selfCommand(ctx, d, append([]string{"kubectl"}, args...)...)
	cmd.Env = append(cmd.Environ(), "KUBECONFIG="+d.Kubeconfig())
	return cmd
}

// selfCommand is klab with these arguments, for the cluster of d.
func selfCommand(ctx context.Context, d cluster.Dir, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", append([]string{"--cluster", d.Name}, args...)...)
	cmd.Args[0] = "klab"
	return cmd
}
