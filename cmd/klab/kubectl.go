package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/plugin"

	_ "github.com/klab-project/klab/cmd/klab/english" // before kubectl's own packages
	"github.com/klab-project/klab/core/cluster"
)

func (a *app) kubeconfigCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print the path of the cluster's kubeconfig: export KUBECONFIG=$(klab kubeconfig)",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			d, err := a.dir()
			if err != nil {
				return err
			}
			if !d.Exists() {
				return fmt.Errorf("there is no cluster %q: make it with \"sudo klab up\"", d.Name)
			}
			fmt.Println(d.Kubeconfig())
			return nil
		},
	}
}

func (a *app) kubectlCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "kubectl ...",
		Short:              "The unmodified kubectl, for this cluster",
		DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			d, err := a.dir()
			if err != nil {
				return err
			}
			if _, err := cluster.Connect(d); err != nil {
				return err
			}
			return kubectl(d, args)
		},
	}
}

// kubectl runs the built-in kubectl. It ends the process itself when it fails.
func kubectl(d cluster.Dir, args []string) error {
	os.Args = append([]string{"kubectl"}, args...)
	if err := os.Setenv("KUBECONFIG", d.Kubeconfig()); err != nil {
		return err
	}
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	c := cmd.NewDefaultKubectlCommandWithArgs(cmd.KubectlOptions{
		PluginHandler: cmd.NewDefaultPluginHandler(plugin.ValidPluginFilenamePrefixes),
		Arguments:     os.Args,
		ConfigFlags:   genericclioptions.NewConfigFlags(true).WithDeprecatedPasswordFlag().WithDiscoveryBurst(300).WithDiscoveryQPS(50),
		IOStreams:     streams,
	})
	c.SetArgs(args)
	if err := c.Execute(); err != nil {
		return exitCode(1) // kubectl has said why
	}
	return nil
}
