package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
	"github.com/klab-project/klab/tui/view"
)

func (a *app) cniCommand() *cobra.Command {
	var verb string
	var o podOptions
	cmd := &cobra.Command{
		Use:   "cni [NAMESPACE/]POD",
		Short: "Show how network plugins were called for a pod: what each read and answered",
		Long: `cni prints the last calls of network plugins for a pod, one below the other, as
they called each other: environment, standard input, and result or error. The
pod's page of "klab tui" shows the same.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			namespace, name, ok := strings.Cut(strings.TrimPrefix(args[0], "pod/"), "/")
			if !ok {
				namespace, name = "default", namespace
			}
			s, err := a.stateAt(cmd.Context(), o)
			if err != nil {
				return err
			}
			return printCalls(cmd.OutOrStdout(), s, fold.Key{Resource: "pods", Namespace: namespace, Name: name}, step.Verb(strings.ToUpper(verb)))
		},
	}
	cmd.Flags().StringVar(&verb, "verb", "ADD", "of which operation: ADD, DEL, CHECK")
	cmd.Flags().StringVar(&o.replay, "replay", "", "of a recording")
	cmd.AddCommand(a.cniCheckCommand())
	return cmd
}

// printCalls prints the last operation of a kind for a pod.
func printCalls(w io.Writer, s *fold.State, pod fold.Key, verb step.Verb) error {
	name := printable(pod.Namespace + "/" + pod.Name)
	for _, c := range view.NewCNICalls(s, pod) {
		if c.Verb != verb {
			continue
		}
		fmt.Fprintf(w, "%s %s on %s\n", verb, name, printable(c.Node))
		for _, in := range c.Within {
			printCall(w, in, "  ")
		}
		return nil
	}
	return fmt.Errorf("there was no %s for the pod %s: is it on a node yet, and has it a network of its own?", verb, name)
}

func printCall(w io.Writer, c *view.CNICall, indent string) {
	how := "called in process"
	if c.Program != "" {
		how = c.Program
	}
	fmt.Fprintf(w, "\n%s%s (%s)\n", indent, printable(c.Plugin), printable(how))
	for _, e := range c.Env {
		fmt.Fprintf(w, "%s  %s\n", indent, printable(e))
	}
	printJSON(w, indent, "read", c.Read)
	for _, in := range c.Within {
		printCall(w, in, indent+"    ")
	}
	switch {
	case c.Running:
		fmt.Fprintf(w, "%s  has not answered\n", indent)
	case c.Code != 0:
		fmt.Fprintf(w, "%s  failed with code %d: %s\n", indent, c.Code, printable(c.Wrong))
	case c.Wrong != "":
		fmt.Fprintf(w, "%s  failed: %s\n", indent, printable(c.Wrong))
	default:
		printJSON(w, indent, printable(c.Plugin)+" answered", c.Answered)
	}
	for _, said := range [][2]string{{"printed", c.Stdout}, {"printed as errors", c.Stderr}} {
		if said[1] != "" {
			fmt.Fprintf(w, "%s  %s: %s\n", indent, said[0], printable(said[1]))
		}
	}
}

func printJSON(w io.Writer, indent, what string, raw json.RawMessage) {
	const narrow = 2 // a line for each value
	if len(raw) == 0 {
		return
	}
	fmt.Fprintf(w, "%s  %s:\n", indent, what)
	for _, line := range view.JSONLines(raw, narrow) {
		fmt.Fprintf(w, "%s    %s\n", indent, printable(line))
	}
}
