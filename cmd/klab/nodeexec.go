package main

import (
	"errors"
	"os/exec"

	"github.com/spf13/cobra"

	"github.com/klab-project/klab/core/cluster"
)

func (a *app) nodeExecCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exec NODE [--] COMMAND...",
		Short: "Run a command of this machine in a node's network and with its files",
		Example: `  klab node exec node-1 ip route
  klab node exec node-1 cat /etc/cni/net.d/10-klab.conflist`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := a.dir()
			if err != nil {
				return err
			}
			line := args[1:]
			if line[0] == "--" && len(line) > 1 { // as kubectl has it
				line = line[1:]
			}
			c := exec.CommandContext(cmd.Context(), line[0], line[1:]...)
			c.Stdin, c.Stdout, c.Stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
			if err := cluster.StartInNode(d, args[0], c); err != nil {
				return err
			}
			err = c.Wait()
			var exit *exec.ExitError
			if errors.As(err, &exit) && exit.Exited() {
				return exitCode(exit.ExitCode())
			}
			return err
		},
	}
	cmd.Flags().SetInterspersed(false)
	return cmd
}
