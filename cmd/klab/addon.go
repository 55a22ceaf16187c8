package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/klab-project/klab/core/cluster"
)

func (a *app) addonCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "addon [NAME]",
		Short: "Print the manifest of an add-on, or the names of all",
		Long: `A new cluster gets its add-ons as ordinary objects: look at them, change them,
break them, delete them. What was deleted stays deleted, and comes back by

    klab addon dns | klab kubectl apply -f -

Optional ones, such as ingress, come that way too, or by "klab up --with ingress".`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				for _, name := range append(cluster.Addons(), cluster.OptionalAddons()...) {
					fmt.Println(name)
				}
				return nil
			}
			manifest, err := cluster.AddonManifest(args[0])
			if err != nil {
				return err
			}
			_, err = os.Stdout.Write(manifest)
			return err
		},
	}
}
