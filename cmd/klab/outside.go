package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/klab-project/klab/core/cluster"
)

func (a *app) outsideCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "outside", Short: "Be the host outside of the cluster: ask for a page"}
	var get cluster.OutsideGet
	var ca string
	page := &cobra.Command{
		Use:   "get URL",
		Short: "Ask for a page, as a browser outside of the cluster would",
		Long: `get asks for a page from the outside host, 192.0.2.10, and prints the answer's
status, with https also the certificate, and the page. Outside nobody knows the
cluster's names: --at says which address the name of the URL has.`,
		Example: `  klab outside get http://172.30.0.11:30080/
  klab outside get https://shop.example/cart --at 198.51.100.1 --ca shop.crt`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			d, err := a.dir()
			if err != nil {
				return err
			}
			if get.URL = args[0]; ca != "" {
				if get.CA, err = os.ReadFile(ca); err != nil {
					return err
				}
			}
			answer, err := get.Get(cmd.Context(), d)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			fmt.Fprintln(out, printable(answer.Status))
			if answer.TLS != "" {
				fmt.Fprintln(out, printable(answer.TLS))
			}
			fmt.Fprint(out, printableLines(answer.Body))
			return nil
		},
	}
	page.Flags().StringVar(&get.At, "at", "", "the address to connect to, with :PORT if it is not the URL's")
	page.Flags().StringVar(&ca, "ca", "", "a file with certificates (PEM) that are trusted")
	cmd.AddCommand(page)
	return cmd
}
