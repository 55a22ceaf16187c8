package cluster

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/remote"
)

const (
	memberPath = remote.Prefix + "members"
	leavePath  = remote.Prefix + "nodes/{node}/leave"
)

// nodeList is the daemon's nodes, by number. They come and go while it runs.
type nodeList struct {
	changing sync.Mutex // held by who adds or removes one, to the end
	mu       sync.Mutex
	list     []*node
}

// all returns them as they are now.
func (l *nodeList) all() []*node {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.list
}

func (l *nodeList) names() string {
	var names []string
	for _, n := range l.all() {
		names = append(names, n.name)
	}
	return strings.Join(names, ", ")
}

func (l *nodeList) add(n *node) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(slices.Clone(l.list), n)
	slices.SortFunc(l.list, func(a, b *node) int { return a.number - b.number })
}

func (l *nodeList) remove(n *node) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = slices.DeleteFunc(slices.Clone(l.list), func(o *node) bool { return o == n })
}

// numbers are those of the cluster's nodes.
func (c Config) numbers() (list []int) {
	for i := 1; i <= c.Nodes; i++ {
		if !slices.Contains(c.Removed, i) {
			list = append(list, i)
		}
	}
	return list
}

// asked is the configuration after so many nodes were asked for; 0 is as
// before. Who asks for the same again means the cluster as it is by now, with
// nodes that were added and without those that were removed.
func (c Config) asked(nodes int) Config {
	before := c.Asked
	if before == 0 {
		before = c.Nodes
	}
	if nodes != 0 && nodes != before {
		c.Nodes, c.Asked, c.Removed = nodes, nodes, nil
	} else {
		c.Asked = before
	}
	return c
}

// with is the configuration with one node more: that of the lowest number free.
func (c Config) with() (Config, int) {
	n := c.Nodes + 1
	if len(c.Removed) > 0 {
		n = slices.Min(c.Removed)
	}
	c.Removed = slices.DeleteFunc(slices.Clone(c.Removed), func(i int) bool { return i == n })
	c.Nodes = max(c.Nodes, n)
	return c, n
}

// without is the configuration without node n.
func (c Config) without(n int) Config {
	c.Removed = append(slices.Clone(c.Removed), n)
	slices.Sort(c.Removed)
	for len(c.Removed) > 0 && c.Removed[len(c.Removed)-1] == c.Nodes {
		c.Removed, c.Nodes = c.Removed[:len(c.Removed)-1], c.Nodes-1
	}
	return c
}

// AddNode adds a node to a cluster that is up, and returns its name when its
// kubelet answers.
func AddNode(ctx context.Context, d Dir) (name string, err error) {
	return name, d.command(ctx, memberPath, "node", &name)
}

// RemoveNode ends a node of a cluster that is up, and removes it for good: its
// Node, its lease, its disk. Its pods had better been evicted before.
func RemoveNode(ctx context.Context, d Dir, name string) error {
	return d.nodeCommand(ctx, leavePath, name, "leave", nil)
}

// serveMember answers AddNode. What it begins ends with the daemon and not
// with the request.
func (d *daemon) serveMember(daemon context.Context) http.HandlerFunc {
	return serveCommand(d, func(ctx context.Context, _ *http.Request, _ string) (any, error) {
		return d.await(ctx, func() (any, error) { return d.addNode(daemon) })
	})
}

func (d *daemon) serveLeave(daemon context.Context) http.HandlerFunc {
	return serveNodeCommand(d, func(ctx context.Context, n *node, _ string) (any, error) {
		return d.await(ctx, func() (any, error) { return nil, d.removeNode(daemon, n) })
	})
}

// await runs f to its end, and waits for it as long as ctx lasts.
func (d *daemon) await(ctx context.Context, f func() (any, error)) (any, error) {
	type result struct {
		answer any
		err    error
	}
	done := make(chan result, 1)
	d.work.Go(func() {
		answer, err := f()
		done <- result{answer, err}
	})
	select {
	case r := <-done:
		return r.answer, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (d *daemon) addNode(ctx context.Context) (string, error) {
	d.nodes.changing.Lock()
	defer d.nodes.changing.Unlock()
	cfg, number := d.cfg.with()
	if number > MaxNodes {
		return "", wrongf("a cluster has at most %d nodes", MaxNodes)
	}
	if err := cfg.checkRuntime(); err != nil {
		return "", wrong{err}
	}
	n := &node{d: d, number: number, name: nodeName(number)}
	if err := d.saveConfig(cfg); err != nil {
		return "", err
	}
	d.cfg.Nodes, d.cfg.Removed = cfg.Nodes, cfg.Removed
	d.nodes.add(n)
	if err := n.setPower(ctx, PowerOn); err != nil {
		return "", fmt.Errorf("%w; \"klab node remove %s\" takes it back", err, n.name)
	}
	return n.name, nil
}

func (d *daemon) removeNode(ctx context.Context, n *node) error {
	d.nodes.changing.Lock()
	defer d.nodes.changing.Unlock()
	switch all := d.nodes.all(); {
	case !slices.Contains(all, n):
		return nil // somebody else has removed it meanwhile
	case len(all) == 1:
		return wrongf("%s is the cluster's only node: \"klab down\" ends the cluster", n.name)
	}
	if err := n.setPower(ctx, Shutdown); err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(d.own)
	if err != nil {
		return err
	}
	ctx = step.With(ctx, d.lab)
	if err := client.CoreV1().Nodes().Delete(ctx, n.name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	cfg := d.cfg.without(n.number)
	if err := d.saveConfig(cfg); err != nil {
		return err
	}
	d.cfg.Nodes, d.cfg.Removed = cfg.Nodes, cfg.Removed
	d.nodes.remove(n)
	return d.sweepStrangers(ctx)
}

// sweepStrangers removes what is left of nodes that the cluster does not have
// any more.
func (d *daemon) sweepStrangers(ctx context.Context) error {
	for _, name := range d.nodeNames() {
		if slices.ContainsFunc(d.cfg.numbers(), func(i int) bool { return nodeName(i) == name }) {
			continue
		}
		err := d.kill(ctx, func(role string) bool { return role == agentRole+name || role == rtRole+name })
		if err == nil {
			err = d.sweepNode(ctx, name, false)
		}
		if err == nil {
			err = unlinkName(d.Dir, name)
		}
		if err == nil {
			err = os.RemoveAll(d.node(name))
		}
		if err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	return nil
}
