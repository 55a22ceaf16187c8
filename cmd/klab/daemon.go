package main

import (
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/klab-project/klab/core/cluster"
	"github.com/klab-project/klab/core/registry/toolsbin"
	"github.com/klab-project/klab/core/runtime/rtbin"
)

// gcPercent makes the long-lived processes small rather than fast.
const gcPercent = 50

func background() {
	debug.SetGCPercent(gcPercent)
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
}

func (a *app) daemonCommand() *cobra.Command {
	return &cobra.Command{
		Use: "daemon DIR", Hidden: true, Args: cobra.ExactArgs(1),
		Short: "The control plane of one cluster; \"klab up\" starts it",
		RunE: func(_ *cobra.Command, args []string) error {
			background()
			self, err := os.Executable()
			if err != nil {
				return err
			}
			return cluster.Serve(args[0], cluster.Parts{
				RT: rtbin.Install, Tools: toolsbin.Compressed(), Self: self, Version: version,
			})
		},
	}
}

func (a *app) agentCommand() *cobra.Command {
	return &cobra.Command{
		Use: "agent DIR NODE CGROUP", Hidden: true, Args: cobra.ExactArgs(3),
		Short: "The kubelet and the network of one node; the daemon starts it",
		RunE: func(_ *cobra.Command, args []string) error {
			background()
			return cluster.RunAgent(args[0], args[1], args[2])
		},
	}
}
