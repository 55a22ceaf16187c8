package main

import (
	"fmt"
	"net"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/klab-project/klab/core/cluster"
)

func (a *app) exposeCommand() *cobra.Command {
	var namespace, port string
	var listen int
	cmd := &cobra.Command{
		Use:   "expose SERVICE | pod/NAME | ingress/NAME",
		Short: "Let this machine's own programs, as a browser, reach a Service, a pod or an Ingress",
		Long: `expose listens on 127.0.0.1 and carries what comes into the lab, where it begins
at the outside host, as anybody's packets would. It ends with Ctrl-C.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := a.dir()
			if err != nil {
				return err
			}
			way, err := cluster.FindExposed(cmd.Context(), d, namespace, args[0], port)
			if err != nil {
				return err
			}
			l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(listen)))
			if err != nil {
				return fmt.Errorf("port %d of 127.0.0.1: %w; choose another one with --listen", listen, err)
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "http://%s\n", l.Addr())
			fmt.Fprintf(out, "leads to %s, by %s. Ctrl-C ends it.\n", way.To, way.Via)
			return way.Serve(cmd.Context(), l)
		},
	}
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "default", "the namespace of what is exposed")
	cmd.Flags().StringVar(&port, "port", "", "which of its ports, by name or number (default the first)")
	cmd.Flags().IntVar(&listen, "listen", 0, "port of 127.0.0.1 (default a free one)")
	return cmd
}
