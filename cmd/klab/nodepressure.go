package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/klab-project/klab/core/cluster"
	"github.com/klab-project/klab/core/kubelet"
)

func (a *app) pressureCommand() *cobra.Command {
	var available string
	var p kubelet.Pressure
	cmd := &cobra.Command{
		Use:   "pressure NODE memory|disk|pid",
		Short: "Make a node's kubelet see that it runs out of something, so that it evicts pods",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := a.dir()
			if err != nil {
				return err
			}
			p.Of = args[1]
			if available != "" {
				q, err := resource.ParseQuantity(available)
				if err != nil {
					return fmt.Errorf("--available is an amount such as 50Mi, not %q", available)
				}
				p.Available = &q
			}
			if err := cluster.SetPressure(cmd.Context(), d, args[0], p); err != nil {
				return err
			}
			after := "seems to run out of " + p.Of
			if p.Off {
				after = "sees again what it has of " + p.Of + "; the condition stays for the transition period"
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", args[0], after)
			return nil
		},
	}
	cmd.Flags().StringVar(&available, "available", "", "how much there seems to be, such as 50Mi (default half of what is too little)")
	cmd.Flags().BoolVar(&p.Off, "off", false, "end the fault")
	return cmd
}
