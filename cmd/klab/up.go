package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/klab-project/klab/core/cluster"
)

func (a *app) upCommand() *cobra.Command {
	var o cluster.UpOptions
	var lab string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start the cluster, or go on with it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := a.dir()
			if err != nil {
				return err
			}
			o.WaitAddons = o.Wait
			if err := upLab(cmd.Context(), d, lab, o); err != nil {
				return err
			}
			fmt.Printf("The cluster %q is up. Its kubeconfig is %s\n", d.Name, d.Kubeconfig())
			return nil
		},
	}
	cmd.Flags().StringVar(&lab, "lab", defaultLab, "the scenario to begin with: cluster, two-nodes, three-nodes (without DNS) or web")
	cmd.Flags().IntVar(&o.Nodes, "nodes", 0, "number of nodes (default 3, or what the cluster has)")
	cmd.Flags().IntVar(&o.Port, "port", 0, "port of the API server on 127.0.0.1 (default a free one)")
	cmd.Flags().StringSliceVar(&o.EtcdServers, "etcd-servers", nil, "addresses of an existing etcd (default: a built-in one)")
	cmd.Flags().StringVar(&o.RuntimeEndpoint, "container-runtime-endpoint", "", "socket of another container runtime for the kubelets of a new cluster, as unix:///run/containerd/containerd.sock; {node} stands for the node's name (default klab's own runtime)")
	cmd.Flags().BoolVar(&o.NoHistory, "no-history", false, "keep no events on disk: nothing can be recorded, or seen again later")
	cmd.Flags().BoolVar(&o.DualStack, "dual-stack", false, "give nodes, pods, and Services that ask for it, addresses of IPv6 too (only a new cluster)")
	cmd.Flags().StringArrayVar(&o.KubeletArgs, "kubelet-arg", nil, "what all kubelets are told, like upstream's flags: eviction-hard=memory.available<200Mi, cpu-manager-policy=static, capacity=memory=1Gi (may be repeated)")
	cmd.Flags().DurationVar(&o.SigningDuration, "cluster-signing-duration", 0, "how long certificates of nodes, and those that are asked for through the API, are good, as 20s or 24h (default a year, or what the cluster has)")
	cmd.Flags().StringSliceVar(&o.With, "with", nil, "add-ons that the cluster gets from now on: ingress")
	cmd.Flags().StringSliceVar(&o.Without, "without", nil, "add-ons that a new cluster does not get: dns")
	cmd.Flags().BoolVar(&o.Wait, "wait", false, "return when all nodes are Ready and the add-ons run")
	return cmd
}

func (a *app) downCommand() *cobra.Command {
	var keep bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "End the cluster and remove everything that it made",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := a.dir()
			if err != nil {
				return err
			}
			return cluster.Down(cmd.Context(), d, keep)
		},
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "keep objects, images and history, so that \"klab up\" goes on with them")
	return cmd
}
