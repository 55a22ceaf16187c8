package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/spf13/cobra"

	"github.com/klab-project/klab/core/cluster"
	"github.com/klab-project/klab/core/registry"
	"github.com/klab-project/klab/core/registry/archive"
)

func (a *app) imageCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "image",
		Short: "The images of the built-in registry, which nodes ask before any other",
	}
	cmd.AddCommand(a.imageLoadCommand(), a.imageListCommand(), a.imageRemoveCommand())
	return cmd
}

// images is a client of the named cluster's registry.
func (a *app) images() (*registry.Client, error) {
	d, err := a.dir()
	if err != nil {
		return nil, err
	}
	return cluster.Images(d)
}

func (a *app) imageLoadCommand() *cobra.Command {
	var as string
	cmd := &cobra.Command{
		Use:   "load FILE...",
		Short: "Load images from files of \"docker save\" or OCI image layouts",
		Long: `Load puts images into the built-in registry under the names that pods use for
them. All nodes ask this registry first, so that an image loaded as
registry.k8s.io/pause:3.10 is pulled from here and not from registry.k8s.io.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			if as != "" && len(files) > 1 {
				return errors.New("--as names one image: load the files one by one")
			}
			client, err := a.images()
			if err != nil {
				return err
			}
			for _, file := range files {
				if err := load(cmd.Context(), client, file, as); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&as, "as", "", "the image's name, instead of those that the file has")
	return cmd
}

// load pushes the images of one file under their names, or as what is given.
func load(ctx context.Context, client *registry.Client, file, as string) error {
	a, err := archive.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = a.Close() }()
	images, err := a.Images()
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if as != "" {
		if len(images) != 1 {
			return fmt.Errorf("%s has %d images: --as can name only one", file, len(images))
		}
		images[0].Names = []string{as}
	}
	for _, image := range images {
		if len(image.Names) == 0 {
			return fmt.Errorf("an image in %s has no name: give it one with --as NAME", file)
		}
		for _, n := range image.Names {
			tag, err := name.NewTag(n)
			if err != nil {
				return fmt.Errorf("%q in %s cannot be pulled by that name: %w; give it another with --as NAME", n, file, err)
			}
			if err := client.Push(ctx, tag, image); err != nil {
				return fmt.Errorf("load %s: %w", n, err)
			}
			fmt.Println("loaded", n)
		}
	}
	return nil
}

func (a *app) imageListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Args: cobra.NoArgs,
		Short: "List what the built-in registry has",
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.images()
			if err != nil {
				return err
			}
			images, err := client.List(cmd.Context())
			if err != nil {
				return err
			}
			t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "IMAGE\tDIGEST\tSIZE")
			for _, i := range images {
				fmt.Fprintf(t, "%s\t%.19s\t%s\n", i.Name, i.Digest, megabytes(i.Size))
			}
			return t.Flush()
		},
	}
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

func (a *app) imageRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "rm NAME...", Aliases: []string{"remove"}, Args: cobra.MinimumNArgs(1),
		Short: "Remove images from the built-in registry; nodes keep what they have pulled",
		RunE: func(cmd *cobra.Command, names []string) error {
			client, err := a.images()
			if err != nil {
				return err
			}
			for _, n := range names {
				ref, err := name.ParseReference(n)
				if err != nil {
					return fmt.Errorf("%q is no image's name: %w", n, err)
				}
				if err := client.Remove(cmd.Context(), ref); err != nil {
					return fmt.Errorf("remove %s: %w", n, err)
				}
				fmt.Println("removed", n)
			}
			return nil
		},
	}
}
