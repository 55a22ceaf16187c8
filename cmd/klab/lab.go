package main

import (
	"bytes"
	"context"
	"fmt"

	"github.com/klab-project/klab/core/cluster"
	"github.com/klab-project/klab/labs"
)

// defaultLab is a cluster with nothing but its add-ons.
const defaultLab = "cluster"

// upLab starts a cluster as a lab wants it, and applies the lab's manifests.
// Nodes that were asked for are kept, and what was to be left out is.
func upLab(ctx context.Context, d cluster.Dir, name string, o cluster.UpOptions) error {
	list, err := labs.Catalog(labs.Content())
	if err != nil {
		return err
	}
	l, err := labs.Find(list, name)
	if err != nil {
		return err
	}
	if o.Nodes == 0 && !d.Exists() {
		o.Nodes = l.Nodes
	}
	if !d.Exists() {
		o.Without = append(o.Without, l.Without...)
	}
	manifest, err := l.Manifest()
	if err != nil {
		return err
	}
	if err := cluster.Up(ctx, d, o); err != nil || len(manifest) == 0 {
		return err
	}
	cmd := kubectlCommand(ctx, d, "apply", "-f", "-")
	cmd.Stdin = bytes.NewReader(manifest)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("the cluster is up, but the lab %q is not complete: %s", name, bytes.TrimSpace(out))
	}
	return nil
}
