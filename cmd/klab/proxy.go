package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/klab-project/klab/core/cluster"
	"github.com/klab-project/klab/netlab/proxy"
)

func (a *app) proxyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "proxy [iptables|nftables|ipvs]",
		Short: "Show how packets to Services are led, or change it on all nodes",
		Long: `Without an argument, proxy shows the kube-proxy of each node. With one it sets
the mode of all of them, as the ConfigMap kube-proxy in kube-system has it. What a
mode writes can be read beforehand: see "klab proxy rules --help".`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := a.dir()
			if err != nil {
				return err
			}
			if len(args) == 1 {
				mode, err := proxy.ParseMode(args[0])
				if err != nil {
					return err
				}
				if err := cluster.SetProxyMode(cmd.Context(), d, mode); err != nil {
					return err
				}
			}
			return a.showProxies(cmd, d)
		},
	}
	cmd.AddCommand(a.proxyRulesCommand(),
		a.runProxyCommand("stop", "Stop the kube-proxy of a node; its rules stay as they are", false),
		a.runProxyCommand("start", "Start the kube-proxy of a node again", true))
	return cmd
}

func (a *app) showProxies(cmd *cobra.Command, d cluster.Dir) error {
	list, err := cluster.Proxies(cmd.Context(), d)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "NODE\tMODE\tKUBE-PROXY")
	for _, p := range list {
		state := "runs"
		switch {
		case p.Off:
			state = "the node is off"
		case p.Stopped:
			state = "is stopped; the rules stay"
		case p.Mode == "":
			p.Mode, state = "-", "starts"
		case p.Failed != "":
			state = "runs; " + printable(p.Failed)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", p.Node, printable(p.Mode), state)
	}
	return w.Flush()
}

func (a *app) proxyRulesCommand() *cobra.Command {
	var six bool
	cmd := &cobra.Command{
		Use:   "rules MODE NODE",
		Short: "Print the rules that a mode wants on a node for the Services that there are",
		Long: `rules prints what kube-proxy would give to iptables-restore, to nft -f, or to ip,
ipset and ipvsadm, on a node that has nothing of it yet. Nothing is changed, and
the kernel is not asked: a mode that it does not have can be read, too. A node of
a cluster with both families of addresses has rules for each: those of IPv4 are
printed, or with -6 those of IPv6.`,
		Example: "  klab proxy rules ipvs node-1\n  klab proxy rules ipvs node-1 -6",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := a.dir()
			if err != nil {
				return err
			}
			mode, err := proxy.ParseMode(args[0])
			if err != nil {
				return err
			}
			text, err := cluster.ProxyRules(cmd.Context(), d, mode, args[1], six)
			if err != nil {
				return err
			}
			fmt.Fprint(cmd.OutOrStdout(), printableLines(text))
			return nil
		},
	}
	cmd.Flags().BoolVarP(&six, "ipv6", "6", false, "print the rules of IPv6")
	return cmd
}

func (a *app) runProxyCommand(use, short string, run bool) *cobra.Command {
	return &cobra.Command{
		Use: use + " NODE...", Short: short, Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, nodes []string) error {
			d, err := a.dir()
			if err != nil {
				return err
			}
			for _, node := range nodes {
				if err := cluster.RunProxy(cmd.Context(), d, node, run); err != nil {
					return fmt.Errorf("kube-proxy of %s: %w", node, err)
				}
			}
			return a.showProxies(cmd, d)
		},
	}
}
