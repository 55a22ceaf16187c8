package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/klab-project/klab/core/cluster"
	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/remote"
)

// connect returns a client of the steps of the cluster that was named.
func (a *app) connect() (*remote.Client, error) {
	d, err := a.dir()
	if err != nil {
		return nil, err
	}
	return cluster.Connect(d)
}

func (a *app) stepCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "step", Short: "Hold the cluster's decisions and let them happen one by one"}
	cmd.AddCommand(a.pauseCommand(), a.runCommand(), a.pendingCommand(), a.pickCommand(), a.speedCommand(), a.markCommand())
	return cmd
}

func (a *app) pauseCommand() *cobra.Command {
	var zoom int
	var only, breaks []string
	cmd := &cobra.Command{
		Use:   "pause",
		Short: "Hold everything that happens next; the lab clock stands still",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			m := step.Mode{State: step.Paused, Zoom: step.Zoom(zoom)}
			if zoom < int(step.Coarse) || zoom > int(step.Finest) {
				return fmt.Errorf("--zoom is 0 (decisions), 1 (their stages) or 2 (everything), not %d", zoom)
			}
			var err error
			if m.Only, err = matches(only); err != nil {
				return err
			}
			if m.Breaks, err = matches(breaks); err != nil {
				return err
			}
			return a.setMode(cmd.Context(), m)
		},
	}
	cmd.Flags().IntVar(&zoom, "zoom", 0, "how fine the steps are: 0 decisions, 1 their stages and changes of the network too, 2 everything")
	cmd.Flags().StringArrayVar(&only, "only", nil, "hold only what matches, at zoom 0 also changes of the network if their class or verb is said: actor=A,node=N,verb=V,class=C,object=RESOURCE/NAMESPACE/NAME (patterns)")
	cmd.Flags().StringArrayVar(&breaks, "break", nil, "hold what matches also while running, and pause there")
	return cmd
}

func (a *app) runCommand() *cobra.Command {
	var breaks []string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Let everything happen by itself, or until a breakpoint",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			m := step.Mode{State: step.Running}
			var err error
			if m.Breaks, err = matches(breaks); err != nil {
				return err
			}
			return a.setMode(cmd.Context(), m)
		},
	}
	cmd.Flags().StringArrayVar(&breaks, "until", nil, "pause before what matches: actor=A,node=N,verb=V,class=C,object=RESOURCE/NAMESPACE/NAME (patterns)")
	return cmd
}

func (a *app) setMode(ctx context.Context, m step.Mode) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	return c.SetMode(ctx, m)
}

// matches reads patterns of the form key=value,key=value.
func matches(texts []string) ([]step.Match, error) {
	var list []step.Match
	for _, text := range texts {
		var m step.Match
		for _, field := range strings.Split(text, ",") {
			key, value, _ := strings.Cut(field, "=")
			switch key {
			case "actor":
				m.Actor = value
			case "node":
				m.Node = value
			case "verb":
				m.Verb = step.Verb(value)
			case "class":
				m.Class = step.Class(value)
			case "object":
				m.Object = value
			default:
				return nil, fmt.Errorf("%q is no pattern: write actor=, node=, verb=, class= or object=, such as verb=bind,object=pods/default/web-*", field)
			}
		}
		list = append(list, m)
	}
	return list, nil
}

func (a *app) pendingCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "pending",
		Short: "List what waits to be picked, timers last",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			list, err := c.Pending(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(os.Stdout).Encode(list)
			}
			return printPending(os.Stdout, list)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printPending(w io.Writer, list []step.Pending) error {
	if len(list) == 0 {
		fmt.Fprintln(w, "Nothing waits.")
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tACTOR\tNODE\tVERB\tOBJECT\tDUE")
	for _, p := range list {
		due := ""
		if p.Class == step.ClassTimer {
			due = p.Due.String()
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\n", p.ID, printable(p.Actor), printable(p.Node), p.Verb, printable(p.Object.String()), due)
	}
	return t.Flush()
}

func (a *app) pickCommand() *cobra.Command {
	var fail string
	var drop, crash bool
	var delay time.Duration
	cmd := &cobra.Command{
		Use:   "pick ID",
		Short: "Let one pending action happen, or happen differently",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := strconv.ParseUint(args[0], 10, 64)
			if err != nil {
				return fmt.Errorf("%q is no number of \"klab step pending\"", args[0])
			}
			how := step.How{Kind: step.Run}
			switch f := cmd.Flags(); {
			case f.Changed("fail"):
				how = step.How{Kind: step.Fail, Msg: fail}
			case drop:
				how.Kind = step.Drop
			case crash:
				how.Kind = step.Crash
			case f.Changed("delay"):
				how = step.How{Kind: step.Delay, Delay: step.Seconds(delay)}
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			return c.Pick(cmd.Context(), id, how)
		},
	}
	cmd.Flags().StringVar(&fail, "fail", "", "it fails with this message")
	cmd.Flags().BoolVar(&drop, "drop", false, "it does not happen, and nobody is told")
	cmd.Flags().BoolVar(&crash, "crash", false, "the one who does it crashes instead")
	cmd.Flags().DurationVar(&delay, "delay", 0, "it happens so much later, on the lab clock")
	cmd.MarkFlagsMutuallyExclusive("fail", "drop", "crash", "delay")
	return cmd
}

func (a *app) speedCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "speed RATE",
		Short: "Let lab time pass RATE times as fast as real time",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			rate, err := strconv.ParseFloat(args[0], 64)
			if err != nil {
				return fmt.Errorf("%q is no rate: write a number such as 1, 10 or 60", args[0])
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			return c.SetRate(cmd.Context(), rate)
		},
	}
}

func (a *app) markCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "mark NAME",
		Short: "Name this moment, to find it again in the timeline",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if strings.TrimSpace(args[0]) == "" {
				return errors.New("a mark needs a name")
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			return c.Mark(cmd.Context(), args[0])
		},
	}
}
