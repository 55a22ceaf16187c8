package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/klab-project/klab/core/cluster"
	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/recording"
	"github.com/klab-project/klab/core/step/remote"
	"github.com/klab-project/klab/lessons"
	"github.com/klab-project/klab/netlab/trace"
	"github.com/klab-project/klab/tui/lesson"
)

func (a *app) lessonCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "lesson", Short: "Take a lesson, or look after lessons"}
	cmd.AddCommand(a.lessonRunCommand(), lessonListCommand(), lessonLintCommand(), a.lessonTestCommand(), a.lessonRecordCommand())
	return cmd
}

// findLesson finds a built-in lesson.
func findLesson(name string) (*lessons.Lesson, error) {
	list, err := lessons.Catalog(lessons.Content())
	if err != nil {
		return nil, err
	}
	return lessons.Find(list, name)
}

// host is a session's hand on a running cluster.
func host(c *remote.Client, d cluster.Dir) *lessons.Live {
	return &lessons.Live{Client: c, Command: func(ctx context.Context, args ...string) *exec.Cmd {
		return kubectlCommand(ctx, d, args...)
	}, Self: func(ctx context.Context, args ...string) *exec.Cmd { return selfCommand(ctx, d, args...) }}
}

// liveLesson opens a lesson on a running cluster. It brings the lab to the
// lesson's beginning while the interface already shows it, unless the learner
// goes on with what is there.
func (a *app) liveLesson(ctx context.Context, name string, c *remote.Client, d cluster.Dir) (lesson.Lesson, error) {
	l, err := findLesson(name)
	if err != nil {
		return nil, err
	}
	progress, err := progressIn(ctx, c, d)
	if err != nil {
		return nil, err
	}
	s, fresh, err := lessons.Open(l, host(c, d), progress)
	if err != nil {
		return nil, err
	}
	if fresh {
		go func() { _ = s.Begin(ctx) }() // the lesson itself says how it went
	}
	return s, nil
}

// progressIn opens the learner's progress in a running cluster.
func progressIn(ctx context.Context, c *remote.Client, d cluster.Dir) (*lessons.Progress, error) {
	stream, err := c.Events(ctx, 1<<62, false)
	if err != nil {
		return nil, err
	}
	began := stream.Header.Began
	stream.Close()
	dir, err := lessons.StateDir()
	if err != nil {
		return nil, err
	}
	return lessons.OpenProgress(dir, d.Name+" "+began.UTC().Format(time.RFC3339Nano))
}

type lessonOptions struct {
	plain, json  bool
	lang, replay string
}

func (a *app) lessonRunCommand() *cobra.Command {
	var o lessonOptions
	cmd := &cobra.Command{
		Use:   "run LESSON",
		Short: "Take a lesson, in the terminal interface or as plain text",
		Long: `run leads through a lesson on the running cluster; if none is up it brings one
up and takes it down afterwards. With --replay, or without root and a cluster,
the lesson plays from a recording. The exit code is 0 if all goals are reached.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !o.plain && !o.json && term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd())) {
				return a.tui(cmd.Context(), tuiOptions{lesson: args[0], lang: o.lang, replay: o.replay})
			}
			return a.plainLesson(cmd.Context(), args[0], o)
		},
	}
	cmd.Flags().BoolVar(&o.plain, "plain", false, "lines of text instead of the terminal interface")
	cmd.Flags().BoolVar(&o.json, "json", false, "lines of JSON")
	cmd.Flags().StringVar(&o.lang, "lang", "", "en or zh (default: by LANG)")
	cmd.Flags().StringVar(&o.replay, "replay", "", "play this recording")
	return cmd
}

func (a *app) plainLesson(ctx context.Context, name string, o lessonOptions) error {
	lang, err := language(o.lang)
	if err != nil {
		return err
	}
	l, err := findLesson(name)
	if err != nil {
		return err
	}
	p := &lessons.Plain{Lang: string(lang), Out: os.Stdout, JSON: o.json, Ask: asker(),
		Hops: trace.Style{}.Lines}
	d, err := a.dir()
	if err != nil {
		return err
	}
	up := d.Daemon() != 0
	if o.replay != "" || !up && os.Geteuid() != 0 {
		rec, err := lessonRecording(l, o.replay)
		if err != nil {
			return err
		}
		p.Session, p.Next = lessons.NewSession(l, nil, nil), one(rec)
		return p.Run(ctx)
	}
	if !up {
		fmt.Fprintf(os.Stderr, "No cluster is up: starting the cluster %q for this lesson; it is taken down afterwards.\n", d.Name)
		if err := upLab(ctx, d, l.Lab, cluster.UpOptions{WaitAddons: true}); err != nil {
			return err
		}
		defer func() {
			if err := cluster.Down(context.WithoutCancel(ctx), d, false); err != nil {
				fmt.Fprintln(os.Stderr, "klab:", err)
			}
		}()
	}
	c, err := cluster.Connect(d)
	if err != nil {
		return err
	}
	progress, err := progressIn(ctx, c, d)
	if err != nil {
		fmt.Fprintln(os.Stderr, "klab: this goes on, but nothing of it is kept:", err)
		progress = nil
	}
	h := host(c, d)
	if term.IsTerminal(int(os.Stdin.Fd())) {
		if p.Session, _, err = lessons.Open(l, h, progress); err != nil {
			return err
		}
	} else { // a script takes the whole lesson
		p.Session = lessons.Begin(l, h, progress)
		p.Solve = func(ctx context.Context, s *lessons.Step) (string, error) { return h.Solve(ctx, l, s) }
	}
	return errors.Join(runLive(ctx, p, c), progress.Err())
}

// runLive plays a session's lesson on a running cluster.
func runLive(ctx context.Context, p *lessons.Plain, c *remote.Client) error {
	p.Next = stream(c)
	if err := p.Run(ctx); err != nil {
		// Nothing stays held that nobody knows of.
		_ = c.SetMode(context.WithoutCancel(ctx), step.Mode{State: step.Running})
		return err
	}
	return nil
}

// stream gives the events of a running cluster, from the first, until the
// context of the first call ends.
func stream(c *remote.Client) func(context.Context) ([]*step.Event, error) {
	var s *remote.Stream
	return func(ctx context.Context) ([]*step.Event, error) {
		if s == nil {
			var err error
			if s, err = c.Events(ctx, 0, true); err != nil {
				return nil, err
			}
		}
		batch, err := s.Next()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
			s.Close()
		}
		return batch, err
	}
}

// lessonRecording opens a recording: a file, or the lesson's own.
func lessonRecording(l *lessons.Lesson, path string) (*recording.Recording, error) {
	if path != "" {
		return recording.Open(path)
	}
	raw, err := fs.ReadFile(l.Files, "recording.klab")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("lesson %s has no recording: take it live, as root, or name a recording with --replay", l.Number())
	}
	if err != nil {
		return nil, err
	}
	return recording.Read(bytes.NewReader(raw))
}

// one gives a recording's events one by one.
func one(rec *recording.Recording) func(context.Context) ([]*step.Event, error) {
	at := 0
	return func(ctx context.Context) ([]*step.Event, error) {
		if at == len(rec.Events) {
			return nil, io.EOF
		}
		at++
		return rec.Events[at-1 : at], ctx.Err()
	}
}

// asker reads answers: from a terminal it waits for them, else it takes what
// is there.
func asker() func(string) (string, bool) {
	in := bufio.NewReader(os.Stdin)
	fd := int(os.Stdin.Fd())
	terminal := term.IsTerminal(fd)
	return func(question string) (string, bool) {
		if terminal {
			fmt.Print(question)
		}
		if !terminal && in.Buffered() == 0 {
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			if n, err := unix.Poll(fds, 0); err != nil || n == 0 {
				return "", false
			}
		}
		line, err := in.ReadString('\n')
		return line, err == nil || line != ""
	}
}

func lessonListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the lessons",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			list, err := lessons.Catalog(lessons.Content())
			if err != nil {
				return err
			}
			for _, l := range list {
				fmt.Printf("%s  %s · %s  (%d min)\n", l.Number(), l.Title.EN, l.Title.ZH, l.Minutes)
			}
			return nil
		},
	}
}
