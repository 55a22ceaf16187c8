package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/klab-project/klab/core/cluster"
)

func (a *app) nodeAddCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "add [COUNT]",
		Short: "Add nodes to the cluster, one if no count is given",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := a.dir()
			if err != nil {
				return err
			}
			count := 1
			if len(args) == 1 {
				if count, err = strconv.Atoi(args[0]); err != nil || count < 1 {
					return fmt.Errorf("%q is no number of nodes: say how many are to be added, such as 2", args[0])
				}
			}
			for range count {
				name, err := cluster.AddNode(cmd.Context(), d)
				if err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s joined\n", name)
			}
			return nil
		},
	}
}

func (a *app) nodeRemoveCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "remove NODE...",
		Short: "Drain nodes, shut them down, and remove them from the cluster for good",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, nodes []string) error {
			d, err := a.dir()
			if err != nil {
				return err
			}
			if _, err := cluster.Connect(d); err != nil {
				return err
			}
			for _, name := range nodes {
				if !force {
					if err := kubectl(d, []string{"drain", name, "--ignore-daemonsets", "--delete-emptydir-data", "--force"}); err != nil {
						return fmt.Errorf("drain %s: %w; --force removes it without", name, err)
					}
				}
				if err := cluster.RemoveNode(cmd.Context(), d, name); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s is removed\n", name)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "do not drain: what runs there is lost")
	return cmd
}
