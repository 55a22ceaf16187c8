package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/klab-project/klab/core/cluster"
	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/recording"
	"github.com/klab-project/klab/lessons"
	"github.com/klab-project/klab/netlab/leak"
	"github.com/klab-project/klab/tui"
)

// recordingMost is the size in bytes that a lesson's recording may have: it is
// part of the program.
const recordingMost = 300_000

// unsolvedFor is how long a check is watched that must not pass.
const unsolvedFor = 1500 * time.Millisecond

func lessonLintCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "lint",
		Short: "Review lessons: translations, masks, hints, files, recordings",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			fsys := lessons.Content()
			if dir != "" {
				fsys = os.DirFS(dir)
			}
			list, err := lessons.Catalog(fsys)
			if err != nil {
				return err
			}
			terms, err := lessons.Glossary(fsys)
			if err != nil {
				return err
			}
			findings := 0
			for _, l := range list {
				for _, f := range lessons.Lint(l, terms) {
					fmt.Println(f)
					findings++
				}
			}
			if findings > 0 {
				return fmt.Errorf("%d findings in %d lessons", findings, len(list))
			}
			fmt.Printf("%d lessons, no findings\n", len(list))
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "review the lessons in this folder instead of the built-in ones")
	return cmd
}

// fresh runs f on a new cluster of its own, which it takes down afterwards.
func fresh(ctx context.Context, l *lessons.Lesson, f func(cluster.Dir) error) (err error) {
	root, err := leak.Dir("/var/tmp", "klab-lesson-", cluster.DownAll)
	if err != nil {
		return err
	}
	defer os.RemoveAll(root)
	if err := os.Chmod(root, 0o711); err != nil { // users of user namespaces go through
		return err
	}
	d, err := cluster.NewDir(root, fmt.Sprintf("l%s-%d", l.Number(), os.Getpid()))
	if err != nil {
		return err
	}
	if err := upLab(ctx, d, l.Lab, cluster.UpOptions{WaitAddons: true}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cluster.Down(context.WithoutCancel(ctx), d, false)) }()
	// kubectl finds the cluster by the environment.
	if err := os.Setenv("KLAB_ROOT", root); err != nil {
		return err
	}
	return f(d)
}

// solved plays a lesson live, with its solution, and returns the recording.
// Backwards reaches the goals of each step from the last to the first.
// Probe, if any, looks at each step that is about to be solved.
func solved(ctx context.Context, l *lessons.Lesson, d cluster.Dir, backwards bool, probe func(*lessons.Session, *lessons.Live, *lessons.Step) error) ([]byte, error) {
	c, err := cluster.Connect(d)
	if err != nil {
		return nil, err
	}
	h := host(c, d)
	h.Backwards = backwards
	s := lessons.NewSession(l, h, nil)
	p := &lessons.Plain{Session: s, Lang: "en", Out: io.Discard, Solve: func(ctx context.Context, st *lessons.Step) (string, error) {
		if probe != nil {
			if err := probe(s, h, st); err != nil {
				return "", err
			}
		}
		return h.Solve(ctx, l, st)
	}}
	if err := runLive(ctx, p, c); err != nil {
		return nil, err
	}
	var raw bytes.Buffer
	err = c.Recording(ctx, &raw)
	return raw.Bytes(), err
}

func (a *app) lessonRecordCommand() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "record LESSON",
		Short: "Play a lesson in a fresh cluster and keep its recording",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := findLesson(args[0])
			if err != nil {
				return err
			}
			if out == "" {
				out = filepath.Join("lessons", l.Dir, "recording.klab")
			}
			return fresh(cmd.Context(), l, func(d cluster.Dir) error {
				raw, err := solved(cmd.Context(), l, d, false, nil)
				if err != nil {
					return err
				}
				if raw, err = trimmed(raw); err != nil {
					return err
				}
				if len(raw) > recordingMost {
					return fmt.Errorf("the recording has %d bytes, more than %d", len(raw), recordingMost)
				}
				if err := playable(l, raw); err != nil {
					return err
				}
				if err := os.WriteFile(out, raw, 0o644); err != nil {
					return err
				}
				fmt.Printf("%s: %d bytes. Build klab again to have it built in.\n", out, len(raw))
				return nil
			})
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "the file to write (default: the lesson's own)")
	return cmd
}

// trimmed is a recording with only what a lesson shows, in few bytes.
func trimmed(raw []byte) ([]byte, error) {
	rec, err := recording.Read(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	_, err = recording.Write(&out, rec.Header, func(yield func(*step.Event, error) bool) {
		for _, e := range lessons.Trim(rec.Events) {
			if !yield(e, nil) {
				return
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return recording.Pack(out.Bytes())
}

// playable tells whether a recording shows the whole lesson, in both languages.
func playable(l *lessons.Lesson, raw []byte) error {
	rec, err := recording.Read(bytes.NewReader(raw))
	if err != nil {
		return err
	}
	if stale := lessons.Stale(l, rec); len(stale) > 0 {
		return fmt.Errorf("the recording does not show the whole lesson: %s", strings.Join(stale, "; "))
	}
	for _, lang := range lessons.Langs {
		p := &lessons.Plain{Session: lessons.NewSession(l, nil, nil), Next: one(rec), Lang: lang, Out: io.Discard}
		if err := p.Run(context.Background()); err != nil {
			return fmt.Errorf("%s: %w", lang, err)
		}
	}
	if wrong := tui.Rehearse(context.Background(), l, rec.Events); len(wrong) > 0 {
		return fmt.Errorf("in the terminal interface:\n%s", strings.Join(wrong, "\n"))
	}
	return nil
}

func (a *app) lessonTestCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "test [LESSON]",
		Short: "Test lessons live, each in a fresh cluster (as root)",
		Long: `test plays each lesson twice in a fresh cluster, with its solution. The first
time it looks before each step that is solved whether its checks hold back: while
nobody has acted, and in each wrong state that they name, and whether they say so.
The second time it reaches the goals of each step from the last to the first.
Then it plays what was recorded, in both languages, as text and on screens of
three sizes, and looks for every prediction's answer.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := lessonsNamed(args)
			if err != nil {
				return err
			}
			for _, l := range list {
				if err := fresh(cmd.Context(), l, func(d cluster.Dir) error { return testLesson(cmd.Context(), l, d) }); err != nil {
					return fmt.Errorf("lesson %s: %w", l.Number(), err)
				}
				fmt.Printf("%s  %s: it passes when it is solved and only then, and its recording plays\n", l.Number(), l.Title.EN)
			}
			return nil
		},
	}
}

// lessonsNamed is the lesson of the first argument, or all without one.
func lessonsNamed(args []string) ([]*lessons.Lesson, error) {
	list, err := lessons.Catalog(lessons.Content())
	if err != nil || len(args) == 0 {
		return list, err
	}
	l, err := lessons.Find(list, args[0])
	if err != nil {
		return nil, err
	}
	return []*lessons.Lesson{l}, nil
}

func testLesson(ctx context.Context, l *lessons.Lesson, d cluster.Dir) error {
	probe := func(s *lessons.Session, h *lessons.Live, st *lessons.Step) error {
		return s.RefuseWrong(ctx, h, st, unsolvedFor)
	}
	if _, err := solved(ctx, l, d, false, probe); err != nil {
		return err
	}
	raw, err := solved(ctx, l, d, true, nil)
	if err != nil {
		return fmt.Errorf("for the second time: %w", err)
	}
	return playable(l, raw)
}
