package main

import (
	"cmp"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/klab-project/klab/core/cluster"
)

func (a *app) netPeersCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "peers",
		Short: "Show who has a BGP session with whom, and the routes that came by it",
		Long: `With the backend bgp each node's speaker has a session with every other one,
a TCP connection to port 179, and what it hears becomes routes of proto bgp.
peers asks the nodes' kernels for both. In a cluster with both families there is
a second such session, over IPv6. A route may outlive its session: for two
minutes a neighbour counts as one that only starts again (RFC 4724).`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := a.dir()
			if err != nil {
				return err
			}
			peers, err := cluster.BGPPeers(d)
			if err != nil {
				return err
			}
			t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "NODE\tPEER\tSESSION\tROUTES")
			for _, p := range peers {
				session, routes := "none", []string{}
				if p.Session {
					session = "established"
				}
				for _, r := range p.Routes {
					routes = append(routes, r.String())
				}
				peer := p.Peer
				if p.IPv6 {
					peer += " (IPv6)"
				}
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", p.Node, peer, session, cmp.Or(strings.Join(routes, " "), "-"))
			}
			return t.Flush()
		},
	}
}
