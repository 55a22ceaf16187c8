package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/tui/view"
)

// printable is text of others without anything that moves a cursor.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '�'
		}
		return r
	}, s)
}

// printableLines is printable for text of several lines.
func printableLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = printable(strings.ReplaceAll(l, "\t", "    "))
	}
	return strings.Join(lines, "\n")
}

func (a *app) eventsCommand() *cobra.Command {
	var follow, asJSON bool
	var since uint64
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Print what happened, one line for each event",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			stream, err := c.Events(cmd.Context(), since, follow)
			if err != nil {
				return err
			}
			defer stream.Close()
			enc := json.NewEncoder(os.Stdout)
			if asJSON {
				if err := enc.Encode(stream.Header); err != nil {
					return err
				}
			}
			for {
				batch, err := stream.Next()
				for _, e := range batch {
					if asJSON {
						if err := enc.Encode(e); err != nil {
							return nil
						}
					} else {
						printEvent(os.Stdout, e)
					}
				}
				if errors.Is(err, io.EOF) || cmd.Context().Err() != nil {
					return nil
				}
				if err != nil {
					return err
				}
			}
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what happens from now on")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a recording's lines")
	cmd.Flags().Uint64Var(&since, "since", 0, "only events after this number")
	return cmd
}

func printEvent(w io.Writer, e *step.Event) {
	who := e.Actor
	if e.Node != "" {
		who += "@" + e.Node
	}
	line := fmt.Sprintf("%6d %12s %-7s %-32s %-16s %s", e.Seq, e.At, e.Phase, printable(who), e.Verb, printable(e.Object.String()))
	if note := view.DNSNote(e); note != "" {
		line += "  " + printable(note)
	}
	if e.RV != 0 {
		line += fmt.Sprintf("  rev %d", e.RV)
	}
	if len(e.Cause) > 0 {
		line += fmt.Sprintf("  because of %v", e.Cause)
	}
	if e.How != "" {
		line += "  [" + e.How + "]"
	}
	if e.Err != "" {
		line += "  error: " + printable(e.Err)
	}
	fmt.Fprintln(w, line)
}

func (a *app) recordCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "record FILE",
		Short: "Save everything that happened so far as a recording that plays anywhere",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			tmp, err := os.CreateTemp(filepath.Dir(args[0]), ".klab-record-*")
			if err != nil {
				return err
			}
			defer os.Remove(tmp.Name())
			err = c.Recording(cmd.Context(), tmp)
			if err = errors.Join(err, tmp.Chmod(0o644), tmp.Close()); err != nil {
				return fmt.Errorf("record: %w", err)
			}
			if err := os.Rename(tmp.Name(), args[0]); err != nil {
				return err
			}
			fmt.Printf("Saved. Play it with: klab tui --replay %s\n", args[0])
			return nil
		},
	}
}
