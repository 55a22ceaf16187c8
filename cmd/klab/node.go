package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/klab-project/klab/core/cluster"
)

func (a *app) nodeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "node", Short: "Add, remove, turn on and off nodes, empty them, run commands in them"}
	cmd.AddCommand(
		a.powerCommand(cluster.PowerOn, "Turn nodes on that are off", "is on"),
		a.powerCommand(cluster.Shutdown, "Shut nodes down: their kubelets end the pods first, by priority", "is off"),
		a.powerCommand(cluster.PowerOff, "Turn nodes off at once, as if the plug were pulled", "is off"),
		a.nodeAddCommand(), a.nodeRemoveCommand(), a.drainCommand(), a.pressureCommand(), a.nodeExecCommand(),
	)
	return cmd
}

func (a *app) powerCommand(power cluster.Power, short, after string) *cobra.Command {
	return &cobra.Command{
		Use:   string(power) + " NODE...",
		Short: short,
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, nodes []string) error {
			d, err := a.dir()
			if err != nil {
				return err
			}
			for _, name := range nodes {
				if err := cluster.SetPower(cmd.Context(), d, name, power); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", name, after)
			}
			return nil
		},
	}
}

func (a *app) drainCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "drain NODE",
		Short: "Cordon a node and evict its pods, bare ones too; \"klab kubectl uncordon NODE\" takes it back",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			d, err := a.dir()
			if err != nil {
				return err
			}
			if _, err := cluster.Connect(d); err != nil {
				return err
			}
			return kubectl(d, []string{"drain", args[0], "--ignore-daemonsets", "--delete-emptydir-data", "--force"})
		},
	}
}
