package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// A cluster is the one that the tests run in: fresh, and gone afterwards.
type cluster struct{ klab, name string }

// up takes away what an earlier run left, starts the cluster, loads the images
// and returns the path of its kubeconfig.
func (c cluster) up(ctx context.Context, nodes int, images []string) (string, error) {
	if err := c.down(); err != nil {
		return "", err
	}
	if _, err := c.run(ctx, "up", "--nodes", strconv.Itoa(nodes), "--wait", "--no-history"); err != nil {
		return "", err
	}
	if _, err := c.run(ctx, append([]string{"image", "load"}, images...)...); err != nil {
		return "", err
	}
	out, err := c.run(ctx, "kubeconfig")
	return strings.TrimSpace(out), err
}

// down takes the cluster away. It does so also when the run was interrupted.
func (c cluster) down() error {
	if _, err := c.run(context.Background(), "down"); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		return err
	}
	return nil
}

func (c cluster) run(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.klab, append([]string{"--cluster", c.name}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("klab %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}
