package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/klab-project/klab/core/cluster"
	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/recording"
	"github.com/klab-project/klab/lessons"
	"github.com/klab-project/klab/tui"
	"github.com/klab-project/klab/tui/i18n"
)

type tuiOptions struct {
	replay, lesson, lang string
	lab                  string
	ascii                bool
	nodes                int
}

func (a *app) tuiCommand() *cobra.Command {
	var o tuiOptions
	cmd := &cobra.Command{
		Use:   "tui",
		Short: "Watch the cluster think, and choose what happens next",
		Long: `tui opens the terminal interface on the cluster, which it starts if it is not
up. With --replay it plays a recording instead, on any machine and without root.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.tui(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.replay, "replay", "", "play this recording")
	cmd.Flags().StringVar(&o.lesson, "lesson", "", "lead through a lesson: 01")
	cmd.Flags().StringVar(&o.lang, "lang", "", "en or zh (default: by LANG)")
	cmd.Flags().BoolVar(&o.ascii, "ascii", false, "draw with ASCII characters only")
	cmd.Flags().StringVar(&o.lab, "lab", "", "the scenario of a cluster that is started (default the lesson's, or cluster): cluster, two-nodes, three-nodes (without DNS) or web")
	cmd.Flags().IntVar(&o.nodes, "nodes", 0, "number of nodes of a cluster that is started (default 3)")
	return cmd
}

func (a *app) tui(ctx context.Context, o tuiOptions) error {
	lang, err := language(o.lang)
	if err != nil {
		return err
	}
	c := tui.Config{Cards: cards(), Lang: lang, ASCII: o.ascii || os.Getenv("RUNEWIDTH_EASTASIAN") == "1"}
	d, err := a.dir()
	if err != nil {
		return err
	}
	if o.replay != "" || o.lesson != "" && d.Daemon() == 0 && os.Geteuid() != 0 {
		return a.play(ctx, c, o)
	}
	if err := needTerminal(); err != nil {
		return err
	}
	if d.Daemon() == 0 {
		if o.lesson != "" && o.lab == "" {
			l, err := findLesson(o.lesson)
			if err != nil {
				return err
			}
			o.lab = l.Lab
		}
		fmt.Printf("Starting the cluster %q …\n", d.Name)
		if err := upLab(ctx, d, cmp.Or(o.lab, defaultLab), cluster.UpOptions{Nodes: o.nodes, Wait: true}); err != nil {
			return err
		}
	}
	client, err := cluster.Connect(d)
	if err != nil {
		return err
	}
	source, err := newLiveSource(ctx, client)
	if err != nil {
		return err
	}
	defer source.close()
	c.Source, c.Control = source, control{Client: client, dir: d}
	if o.lesson != "" {
		if c.Lesson, err = a.liveLesson(ctx, o.lesson, client, d); err != nil {
			return err
		}
	}
	if err := tui.Run(ctx, c); err != nil {
		return err
	}
	if mode, err := client.Mode(context.WithoutCancel(ctx)); err == nil && mode.State == step.Paused {
		fmt.Println("The cluster is up and paused: \"klab step run\" lets it go on, \"klab tui\" comes back, \"klab down\" removes it.")
	}
	return nil
}

func needTerminal() error {
	if term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd())) {
		return nil
	}
	return errors.New("the terminal interface needs a terminal: use \"klab lesson run 01 --plain\" or \"klab events\" in scripts")
}

// play shows a recording: the one that was named, or else the lesson's own.
func (a *app) play(ctx context.Context, c tui.Config, o tuiOptions) error {
	if o.lesson == "" {
		p, err := recording.Play(o.replay)
		if err != nil {
			return err
		}
		c.Source = playback{p}
	} else {
		l, err := findLesson(o.lesson)
		if err != nil {
			return err
		}
		rec, err := lessonRecording(l, o.replay)
		if err != nil {
			return err
		}
		c.Source, c.Lesson, c.Start = recorded{rec}, lessons.NewSession(l, nil, nil), l.Start(rec.Events)
	}
	if err := needTerminal(); err != nil {
		return err
	}
	return tui.Run(ctx, c)
}

// language is what was asked for, or what the environment says.
func language(asked string) (i18n.Lang, error) {
	switch lang := i18n.Lang(asked); lang {
	case i18n.English, i18n.Chinese:
		return lang, nil
	case "":
		return i18n.Of(cmp.Or(os.Getenv("LC_ALL"), os.Getenv("LC_MESSAGES"), os.Getenv("LANG"))), nil
	}
	return "", fmt.Errorf("--lang is en or zh, not %q", asked)
}
