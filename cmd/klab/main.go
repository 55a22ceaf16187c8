// Command klab is a laboratory in which people see Kubernetes think: it brings
// up a real cluster on one machine, lets its decisions happen one by one, and
// shows them. "klab tui" is where to start.
//
// Each subcommand is one file; main.go has what they share.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/klab-project/klab/core/cluster"
)

// version is set by the build.
var version = "v0.1.0-dev"

// app is what all subcommands share.
type app struct {
	cluster string
}

// dir is the directory of the cluster that was named.
func (a *app) dir() (cluster.Dir, error) { return cluster.NewDir(cluster.Root(), a.cluster) }

// exitCode is the error of a command that only has an exit code to say.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cmd, err := command().ExecuteContextC(ctx)
	var code exitCode
	switch {
	case errors.As(err, &code):
		os.Exit(int(code))
	case err != nil:
		fmt.Fprintln(os.Stderr, "klab:", printableLines(plainly(cmd, err).Error()))
		os.Exit(1)
	}
}

func command() *cobra.Command {
	a := &app{}
	root := &cobra.Command{
		Use:   "klab",
		Short: "A laboratory in which you see Kubernetes think",
		Long: `klab runs a real, small Kubernetes on this machine and lets you choose what
happens next in it.

Begin with "sudo klab tui". Everything else is for scripts and for the curious.`,
		Version:       version,
		SilenceErrors: true, SilenceUsage: true,
		TraverseChildren: true,
	}
	name := os.Getenv("KLAB_CLUSTER")
	if name == "" {
		name = cluster.DefaultName
	}
	root.PersistentFlags().StringVar(&a.cluster, "cluster", name, "which cluster is meant (or KLAB_CLUSTER)")
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(
		a.netCommand(),
		a.upCommand(), a.downCommand(), a.statusCommand(), a.doctorCommand(),
		a.kubeconfigCommand(), a.kubectlCommand(), a.imageCommand(), a.nodeCommand(), a.containerCommand(), a.cniCommand(), a.addonCommand(),
		a.stepCommand(), a.eventsCommand(), a.recordCommand(),
		a.proxyCommand(), a.exposeCommand(), a.outsideCommand(),
		a.tuiCommand(), a.podCommand(), a.packetCommand(), a.dnsCommand(), a.policyCommand(), a.lessonCommand(), progressCommand(),
		a.daemonCommand(), a.agentCommand(),
	)
	root.AddCommand(a.breakCommand(), a.mendCommand())
	root.SetFlagErrorFunc(wrongFlag)
	speakPlainly(root)
	root.SetUsageTemplate(strings.Replace(root.UsageTemplate(), "{{if .Runnable}}", `{{if and .Runnable (not (index .Annotations "`+onlyHelps+`"))}}`, 1))
	return root
}
