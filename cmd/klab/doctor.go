package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/klab-project/klab/netlab/probe"
)

func (a *app) doctorCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Try what klab needs of this machine, and say what is missing and what stands in",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if os.Geteuid() != 0 {
				return errors.New("trying kernel features needs root: use sudo")
			}
			rows := probe.All(cmd.Context())
			if asJSON {
				if err := json.NewEncoder(os.Stdout).Encode(rows); err != nil {
					return err
				}
			} else if err := printFeatures(rows); err != nil {
				return err
			}
			missing := probe.Missing(rows)
			if len(missing) == 0 {
				return nil
			}
			names := make([]string, len(missing))
			for i, f := range missing {
				names[i] = f.Name
			}
			return fmt.Errorf("no lab works here without %s", strings.Join(names, ", "))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printFeatures(rows []probe.Feature) error {
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "FEATURE\tHERE\tUSED FOR\tINSTEAD")
	for _, f := range rows {
		here := f.Found
		if here == "" {
			here = "yes"
		}
		instead := ""
		if !f.OK {
			here, instead = "no: "+f.Why, f.Instead
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", f.Name, here, f.Use, instead)
	}
	return t.Flush()
}
