package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
	"github.com/klab-project/klab/core/step/recording"
	"github.com/klab-project/klab/tui"
	"github.com/klab-project/klab/tui/view"
)

type podOptions struct {
	replay, lang string
	at           uint64
	width        int
	json, ascii  bool
}

func (a *app) podCommand() *cobra.Command {
	var o podOptions
	cmd := &cobra.Command{
		Use:   "pod [NAMESPACE/]NAME",
		Short: "Say what the kernel has of a pod, how it is doing, and what its kubelet plans",
		Long: `pod prints the page of one pod: namespaces and who shares them, processes,
limits and use, mounts; its containers, conditions, probes and history on the lab
clock; what the kubelet does next. The beginning of a name is enough. With
--replay it is about a pod of a recording, with --at at an earlier moment.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			state, err := a.stateAt(cmd.Context(), o)
			if err != nil {
				return err
			}
			return printPod(os.Stdout, state, args[0], o)
		},
	}
	cmd.Flags().StringVar(&o.replay, "replay", "", "look into this recording")
	cmd.Flags().Uint64Var(&o.at, "at", 0, "as it was after this event")
	cmd.Flags().BoolVar(&o.json, "json", false, "print it as JSON")
	cmd.Flags().StringVar(&o.lang, "lang", "", "en or zh (default: by LANG)")
	cmd.Flags().BoolVar(&o.ascii, "ascii", false, "draw with ASCII characters only")
	cmd.Flags().IntVar(&o.width, "width", 0, "in cells (default: the terminal's, or 100)")
	return cmd
}

// stateAt is what is known of the cluster, or of a recording, at a moment.
func (a *app) stateAt(ctx context.Context, o podOptions) (*fold.State, error) {
	state := fold.New()
	take := func(events []*step.Event) bool {
		for _, e := range events {
			if o.at != 0 && e.Seq > o.at {
				return false
			}
			state.Apply(e)
		}
		return true
	}
	if o.replay != "" {
		rec, err := recording.Open(o.replay)
		if err != nil {
			return nil, err
		}
		take(rec.Events)
		return state, nil
	}
	c, err := a.connect()
	if err != nil {
		return nil, err
	}
	stream, err := c.Events(ctx, 0, false)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	for {
		batch, err := stream.Next()
		if !take(batch) || errors.Is(err, io.EOF) {
			return state, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func printPod(w io.Writer, state *fold.State, name string, o podOptions) error {
	lang, err := language(o.lang)
	if err != nil {
		return err
	}
	key, ok := view.FindPod(state, name)
	if !ok {
		return fmt.Errorf("no pod is called %q, and not exactly one begins so: \"klab kubectl get pods -A\" lists them", printable(name))
	}
	page := view.NewPodPage(state, view.Mask{}, key)
	if o.json {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(page)
	}
	text := tui.Text{Width: o.width, Lang: lang, ASCII: o.ascii || os.Getenv("RUNEWIDTH_EASTASIAN") == "1"}
	if fd := int(os.Stdout.Fd()); term.IsTerminal(fd) {
		text.Colour = os.Getenv("NO_COLOR") == ""
		if cols, _, err := term.GetSize(fd); err == nil && text.Width == 0 {
			text.Width = cols
		}
	}
	if text.Width == 0 {
		text.Width = 100
	}
	_, err = io.WriteString(w, text.Pod(page))
	return err
}
