package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/klab-project/klab/core/cluster"
	"github.com/klab-project/klab/netlab/fault"
	"github.com/klab-project/klab/tui/i18n"
)

type breakOptions struct {
	json, explain bool
	lang          string
}

func (o *breakOptions) text(t fault.Text) string {
	if lang, err := language(o.lang); err == nil && lang == i18n.Chinese {
		return t.ZH
	}
	return t.EN
}

func (a *app) breakCommand() *cobra.Command {
	var o breakOptions
	cmd := &cobra.Command{
		Use:   "break [CARD [NODE|POD|SERVICE|DEPLOYMENT] [NAME=VALUE...]]",
		Short: "Break the network on purpose; without a card: list the cards, and what is broken",
		Long: `break plays a card: it breaks one thing of the cluster's network, so that you
can see what that looks like. "klab mend" brings back exactly what was there.

Without a card it lists all cards, and what is broken now. Pods, Services and
Deployments are named NAMESPACE/NAME, or NAME in the namespace default.`,
		Example: `  klab break
  klab break drop --explain
  klab break drop node-2 share=50
  klab break no-hairpin default/web
  klab mend --all`,
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := a.dir()
			if err != nil {
				return err
			}
			switch out := cmd.OutOrStdout(); {
			case len(args) == 0:
				return o.list(cmd.Context(), out, d)
			case o.explain:
				return o.card(out, args[0])
			}
			ask, err := parseAsk(args)
			if err != nil {
				return err
			}
			f, err := cluster.Break(cmd.Context(), d, ask)
			if err != nil {
				return err
			}
			return o.broken(cmd.OutOrStdout(), f)
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&o.explain, "explain", false, "say what the card does, and what one sees of it; break nothing")
	return cmd
}

func (o *breakOptions) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	cmd.Flags().StringVar(&o.lang, "lang", "", "en or zh (default: by LANG)")
}

func parseAsk(args []string) (fault.Ask, error) {
	ask := fault.Ask{Card: args[0], Args: map[string]string{}}
	for _, arg := range args[1:] {
		name, value, ok := strings.Cut(arg, "=")
		switch {
		case ok:
			ask.Args[name] = value
		case ask.Target == "":
			ask.Target = arg
		default:
			return ask, fmt.Errorf("a card is for one thing: %s or %s? What it is told besides is NAME=VALUE", ask.Target, arg)
		}
	}
	return ask, nil
}

func (o *breakOptions) print(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func (o *breakOptions) broken(out io.Writer, f fault.Fault) error {
	if o.json {
		return o.print(out, f)
	}
	card, err := fault.Find(f.Card)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s is broken\n%s\n%s\n\"klab mend %s\" takes it back.\n", f.ID, o.text(card.Does), o.text(card.Heals), f.ID)
	return nil
}

// list prints the cards, and what is broken in the cluster, if it is up.
func (o *breakOptions) list(ctx context.Context, out io.Writer, d cluster.Dir) error {
	list, err := cluster.Broken(ctx, d)
	if err != nil && !errors.Is(err, cluster.ErrNotUp) {
		return err
	}
	if o.json {
		return o.print(out, struct {
			Cards  []fault.Card  `json:"cards"`
			Broken []fault.Fault `json:"broken"`
		}{fault.Cards(), list})
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CARD\tON\tARGUMENTS\tWHAT IT IS")
	for _, c := range fault.Cards() {
		var args []string
		for _, a := range c.Args {
			args = append(args, a.Name+"="+a.Default)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", c.Name, c.On, strings.Join(args, " "), o.text(c.Title))
	}
	if len(list) > 0 {
		fmt.Fprintln(t, "\nBROKEN NOW\tNODE\tSINCE\t")
		for _, f := range list {
			fmt.Fprintf(t, "%s\t%s\t%s\t\n", f.ID, f.Node, f.Began.Local().Format(time.TimeOnly))
		}
	}
	return t.Flush()
}

// card prints all that a card says.
func (o *breakOptions) card(out io.Writer, name string) error {
	c, err := fault.Find(name)
	if err != nil {
		return err
	}
	if o.json {
		return o.print(out, c)
	}
	fmt.Fprintf(out, "%s: %s (%s)\n\n%s\n\n%s\n\n%s\n", c.Name, o.text(c.Title), c.On, o.text(c.Does), o.text(c.Sees), o.text(c.Heals))
	for _, a := range c.Args {
		fmt.Fprintf(out, "\n%s=%s  %s\n", a.Name, a.Default, o.text(a.Says))
	}
	return nil
}

func (a *app) mendCommand() *cobra.Command {
	var o breakOptions
	var all bool
	cmd := &cobra.Command{
		Use:   "mend FAULT | CARD TARGET | --all",
		Short: "Bring back what a card of \"klab break\" has broken",
		Args:  cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := a.dir()
			if err != nil {
				return err
			}
			if all == (len(args) > 0) {
				return errors.New("say what is to be mended, or --all; \"klab break\" lists what is broken")
			}
			id, err := a.faultID(cmd.Context(), d, args)
			if err != nil {
				return err
			}
			list, err := cluster.Mend(cmd.Context(), d, id)
			if err != nil {
				return err
			}
			if o.json {
				return o.print(cmd.OutOrStdout(), list)
			}
			if len(list) == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "nothing is broken")
			}
			for _, f := range list {
				fmt.Fprintf(cmd.OutOrStdout(), "%s is mended\n", f.ID)
			}
			return nil
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "mend all that is broken")
	return cmd
}

// faultID finds a fault by its name, or by its card and what that was played
// on; none for no words.
func (a *app) faultID(ctx context.Context, d cluster.Dir, words []string) (string, error) {
	if len(words) == 0 {
		return "", nil
	}
	list, err := cluster.Broken(ctx, d)
	if err != nil {
		return "", err
	}
	var found []string
	for _, f := range list {
		target := len(words) == 1 || f.Target == words[1] || f.Target == "default/"+words[1]
		if f.ID == words[0] {
			return f.ID, nil
		}
		if f.Card == words[0] && target {
			found = append(found, f.ID)
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("%s is not broken; \"klab break\" lists what is", strings.Join(words, " "))
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("%s is ambiguous: %s", words[0], strings.Join(found, ", "))
}
