package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/klab-project/klab/core/cluster"
	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/overlay"
)

func (a *app) netCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "net", Short: "See and change how packets get from node to node"}
	cmd.AddCommand(&cobra.Command{
		Use:   "backend [" + strings.Join(overlay.Types, "|") + "]",
		Short: "Show the overlay's backend and the nodes' subnet leases, or change the backend",
		Long: `Without an argument: the backend that the ConfigMap kube-flannel-cfg in
kube-system names, each node's subnet lease, and what the forwarders of the
backend udp have carried. With one: that backend is
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
			if err := printOverlay(cmd.Context(), cmd.OutOrStdout(), d); err != nil {
				return err
			}
			return a.printCarried(cmd.Context(), cmd.OutOrStdout())
		},
	}, a.netPeersCommand())
	return cmd
}

func printOverlay(ctx context.Context, out io.Writer, d cluster.Dir) error {
	o, err := cluster.ReadOverlay(ctx, d)
	if err != nil {
		return err
	}
	if o.Wrong != nil {
		fmt.Fprintf(out, "the ConfigMap kube-flannel-cfg is refused: %s\n\n", printable(o.Wrong.Error()))
	} else {
		fmt.Fprintf(out, "backend: %s\n", o.Configured)
		if by := overlay.Carrier6(o.Configured); o.DualStack && by != o.Configured {
			fmt.Fprintf(out, "%s carries IPv4 only, as flannel's does: IPv6 goes by routes, as %s makes them\n", o.Configured, by)
		}
		fmt.Fprintln(out)
	}
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "NODE\tSUBNET\tADDRESS\tBACKEND\tDATA")
	for _, l := range o.Nodes {
		if !l.PublicIP.IsValid() {
			fmt.Fprintf(w, "%s\t-\t-\t-\tno lease\n", l.Node)
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", l.Node, l.Subnet, l.PublicIP, printable(l.BackendType), printable(l.BackendData))
		if l.PublicIP6.IsValid() {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", l.Node, l.Subnet6, l.PublicIP6, printable(overlay.Carrier6(l.BackendType)), printable(l.BackendData6))
		}
	}
	return w.Flush()
}

// printCarried prints what the nodes' forwarders have carried, by the last that
// each node said of it and if it was not long ago that it used one.
func (a *app) printCarried(ctx context.Context, out io.Writer) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	stream, err := c.Events(ctx, 0, false)
	if err != nil {
		return err
	}
	defer stream.Close()
	last := map[string]step.CarriedDetail{}
	for {
		batch, err := stream.Next()
		for _, e := range batch {
			var d step.CarriedDetail
			switch {
			case e.Verb == step.BackendSet:
				delete(last, e.Node)
			case e.Verb == step.Carried && e.Decode(&d) == nil:
				last[e.Node] = d
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	for _, node := range slices.Sorted(maps.Keys(last)) {
		d := last[node]
		fmt.Fprintf(out, "\n%s's forwarder has carried, in packets (bytes):\n", node)
		for _, p := range d.Peers {
			fmt.Fprintf(out, "  %s out %d (%d) in %d (%d)\n", p.Peer, p.OutPackets, p.OutBytes, p.InPackets, p.InBytes)
		}
		if lost := d.NoRoute + d.TTL + d.Bad + d.Unsent; lost > 0 {
			fmt.Fprintf(out, "  lost %d: no node has the subnet %d, no time to live %d, no IPv4 %d, not taken by the kernel %d\n",
				lost, d.NoRoute, d.TTL, d.Bad, d.Unsent)
		}
	}
	return nil
}
