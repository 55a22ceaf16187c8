package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/klab-project/klab/core/cluster"
	"github.com/klab-project/klab/netlab/overlay"
)

func (a *app) netCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "net", Short: "See and change how packets get from node to node"}
	cmd.AddCommand(&cobra.Command{
		Use:   "backend [" + strings.Join(overlay.Types, "|") + "]",
		Short: "Show the overlay's backend and the nodes' subnet leases, or change the backend",
		Long: `Without an argument: the backend that the ConfigMap kube-flannel-cfg in
kube-system names, and each node's subnet lease. With one: that backend is
written there, and klab waits until all nodes use it. No pod is restarted.`,
		Args: cobra.MaximumNArgs(1), ValidArgs: overlay.Types,
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := a.dir()
			if err != nil {
				return err
			}
			if len(args) == 1 {
				if err := cluster.SetBackend(cmd.Context(), d, args[0]); err != nil {
					return err
				}
			}
			return printOverlay(cmd.Context(), cmd.OutOrStdout(), d)
		},
	})
	return cmd
}

func printOverlay(ctx context.Context, out io.Writer, d cluster.Dir) error {
	o, err := cluster.ReadOverlay(ctx, d)
	if err != nil {
		return err
	}
	if o.Wrong != nil {
		fmt.Fprintf(out, "the ConfigMap kube-flannel-cfg is refused: %v\n\n", o.Wrong)
	} else {
		fmt.Fprintf(out, "backend: %s\n\n", o.Configured)
	}
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "NODE\tSUBNET\tADDRESS\tBACKEND\tDATA")
	for _, l := range o.Nodes {
		if !l.PublicIP.IsValid() {
			fmt.Fprintf(w, "%s\t-\t-\t-\tno lease\n", l.Node)
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", l.Node, l.Subnet, l.PublicIP, l.BackendType, l.BackendData)
	}
	return w.Flush()
}
