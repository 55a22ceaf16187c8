package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/klab-project/klab/core/step"
)

func (a *app) cniCommand() *cobra.Command {
	var verb string
	cmd := &cobra.Command{
		Use:   "cni [NAMESPACE/]POD",
		Short: "Show how network plugins were called for a pod: what each read and answered",
		Long: `cni prints the last calls of network plugins for a pod, one below the other, as
they called each other: environment, standard input, and result or error.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			pod := args[0]
			if !strings.Contains(pod, "/") {
				pod = "default/" + pod
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			stream, err := c.Events(cmd.Context(), 0, false)
			if err != nil {
				return err
			}
			defer stream.Close()
			calls := &cniCalls{pod: pod, verb: step.Verb(strings.ToUpper(verb))}
			for {
				batch, err := stream.Next()
				for _, e := range batch {
					calls.see(e)
				}
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					return err
				}
			}
			return calls.print(cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&verb, "verb", "ADD", "of which operation: ADD, DEL, CHECK")
	return cmd
}

// cniCall is one call of one plugin, or of a whole network.
type cniCall struct {
	begin, end *step.Event
	within     []*cniCall
}

// cniCalls finds the last operation of a kind for one pod among events.
type cniCalls struct {
	pod  string
	verb step.Verb
	last *cniCall
	of   map[uint64]*cniCall
}

func (c *cniCalls) see(e *step.Event) {
	if e.Verb != c.verb || e.Class != step.ClassCNI {
		return
	}
	switch call := c.of[e.Step]; {
	case e.Phase == step.PhaseEnd && call != nil:
		call.end = e
	case e.Phase != step.PhaseBegin:
	case e.Object.Resource == "pods" && e.Object.Namespace+"/"+e.Object.Name == c.pod:
		c.last = &cniCall{begin: e}
		c.of = map[uint64]*cniCall{e.Step: c.last}
	case c.of[e.Parent] != nil:
		call := &cniCall{begin: e}
		c.of[e.Step], c.of[e.Parent].within = call, append(c.of[e.Parent].within, call)
	}
}

func (c *cniCalls) print(w io.Writer) error {
	if c.last == nil {
		return fmt.Errorf("there was no %s for the pod %s: is it on a node yet, and has it a network of its own?", c.verb, printable(c.pod))
	}
	fmt.Fprintf(w, "%s %s on %s\n", c.verb, printable(c.pod), printable(c.last.begin.Node))
	for _, call := range c.last.within {
		call.print(w, "  ")
	}
	return nil
}

func (call *cniCall) print(w io.Writer, indent string) {
	var d step.CNIDetail
	_ = call.begin.Decode(&d)
	how := "called in process"
	if d.Program != "" {
		how = d.Program
	}
	fmt.Fprintf(w, "\n%s%s (%s)\n", indent, printable(d.Plugin), printable(how))
	for _, e := range d.Env {
		fmt.Fprintf(w, "%s  %s\n", indent, printable(e))
	}
	printJSON(w, indent, "read", d.Stdin)
	for _, inner := range call.within {
		inner.print(w, indent+"    ")
	}
	if call.end == nil {
		fmt.Fprintf(w, "%s  has not answered\n", indent)
		return
	}
	_ = call.end.Decode(&d)
	if d.Error != nil {
		fmt.Fprintf(w, "%s  failed with code %d: %s %s\n", indent, d.Error.Code, printable(d.Error.Msg), printable(d.Error.Details))
		return
	}
	if len(d.Result) > 0 {
		printJSON(w, indent, printable(d.Plugin)+" answered", d.Result)
	}
}

func printJSON(w io.Writer, indent, what string, text json.RawMessage) {
	var b bytes.Buffer
	if json.Indent(&b, text, "", "  ") != nil {
		return
	}
	fmt.Fprintf(w, "%s  %s:\n", indent, what)
	for line := range strings.Lines(b.String()) {
		fmt.Fprintf(w, "%s    %s\n", indent, printable(strings.TrimRight(line, "\n")))
	}
}
