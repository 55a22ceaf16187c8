package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/klab-project/klab/core/cluster"
)

func (a *app) cniCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check [NAMESPACE/]POD",
		Short: "Ask network plugins whether a pod is attached as they left it",
		Long: `check has CHECK called for a pod, as the specification of CNI says: each plugin of
the chain that the pod was attached by gets the result of ADD and looks whether all
is as it was. What they read and answered shows "klab cni POD --verb CHECK".

The exit code is 0 if nothing differs, and 2 if something does; the pod has an
Event about it then.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := a.dir()
			if err != nil {
				return err
			}
			c, err := cluster.CheckNetwork(cmd.Context(), d, args[0])
			if err != nil {
				return err
			}
			name := printable(c.Namespace + "/" + c.Name)
			if c.Differs == "" {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s on %s is attached as ADD left it\n", name, c.Node)
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s on %s is not attached as ADD left it:\n", name, c.Node)
			for line := range strings.Lines(c.Differs) {
				fmt.Fprintf(cmd.OutOrStdout(), "  %s\n", printable(strings.TrimSpace(line)))
			}
			return exitCode(notArrived)
		},
	}
}
