package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/rest"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/remote"
)

// Power is what can be done to a node's machine.
type Power string

// The three buttons of a machine. A node that is off stays off, also when the
// cluster goes down and up again, until it is turned on.
const (
	PowerOn  Power = "start"
	Shutdown Power = "stop" // its kubelet ends the pods first: graceful node shutdown
	PowerOff Power = "kill" // as if the plug were pulled
)

// shutdownSignal tells an agent that its machine is about to be turned off,
// as it tells an init process.
const shutdownSignal = syscall.SIGPWR

// Why a node's processes end, beside the end of the daemon.
var (
	errShutdown = errors.New("the node is shut down")
	errPowerOff = errors.New("the node has no power")
)

const powerPath = remote.Prefix + "nodes/{node}/power"

// offFile marks a node that is off.
func (d Dir) offFile(node string) string { return filepath.Join(d.node(node), "off") }

func (d Dir) isOff(node string) bool {
	_, err := os.Stat(d.offFile(node))
	return err == nil
}

// NodeOff tells whether a node's machine is turned off.
func (d Dir) NodeOff(node string) bool { return d.isOff(node) }

// SetPower turns a node of the cluster on or off. What is so already is no
// error. A shutdown returns when it is done; when ctx ends, it still goes on.
func SetPower(ctx context.Context, d Dir, node string, power Power) error {
	if d.Daemon() == 0 {
		return d.notUp()
	}
	c, err := d.RESTConfig()
	if err != nil {
		return err
	}
	client, err := rest.HTTPClientFor(c)
	if err != nil {
		return err
	}
	body, err := json.Marshal(power)
	if err != nil {
		return err
	}
	url := c.Host + strings.Replace(powerPath, "{node}", node, 1)
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, url, strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = errors.New(strings.TrimSpace(string(text)))
	}
	return err
}

// servePower answers SetPower. What it begins ends with the daemon and not
// with the request.
func (d *daemon) servePower(ctx context.Context) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := d.allow(r, remote.Masters); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		var power Power
		name := r.PathValue("node")
		i := slices.IndexFunc(d.nodes, func(n *node) bool { return n.name == name })
		switch err := json.NewDecoder(io.LimitReader(r.Body, 100)).Decode(&power); {
		case err != nil || !slices.Contains([]Power{PowerOn, Shutdown, PowerOff}, power):
			http.Error(w, "the body must be \"start\", \"stop\" or \"kill\"", http.StatusBadRequest)
			return
		case i < 0:
			http.Error(w, fmt.Sprintf("there is no node %q: this cluster has node-1 to %s", name, nodeName(len(d.nodes))), http.StatusNotFound)
			return
		}
		done := make(chan error, 1)
		d.work.Go(func() { done <- d.nodes[i].setPower(ctx, power) })
		select {
		case err := <-done:
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		case <-r.Context().Done():
		}
	}
}

func (n *node) setPower(ctx context.Context, power Power) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.d.lab.Fact(step.Action{
		Actor: "klab", Node: n.name, Verb: step.PowerSet, Object: step.Object{Resource: "nodes", Name: n.name},
		Detail: step.PowerDetail{How: string(power)},
	})
	if power == PowerOn {
		return n.turnOn(ctx)
	}
	return n.turnOff(ctx, power)
}

func (n *node) turnOn(ctx context.Context) error {
	if n.ns != nil {
		return nil
	}
	if err := os.Remove(n.d.offFile(n.name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	err := n.create()
	if err == nil {
		err = n.connect(ctx)
	}
	if err == nil {
		err = n.start(ctx, 0)
	}
	if err != nil {
		n.ns = nil // so that it can be tried again; what was made is completed then
		return fmt.Errorf("start %s: %w", n.name, err)
	}
	return n.d.awaitKubelet(ctx, n)
}

// turnOff ends everything on the node, and then the node. The disk stays:
// images, and what the kubelet keeps.
func (n *node) turnOff(ctx context.Context, power Power) error {
	if n.ns == nil {
		return nil
	}
	if err := writeFile(n.d.offFile(n.name), nil, 0o644); err != nil {
		return err
	}
	cause := errPowerOff
	if power == Shutdown {
		cause = errShutdown
	}
	isAgent := func(role string) bool { return role == agentRole+n.name }
	defer context.AfterFunc(ctx, func() { _ = n.d.kill(context.Background(), isAgent) })()
	n.stop(cause)
	n.work.Wait()
	if ctx.Err() != nil { // the daemon ends; its successor finds the node off
		return context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	n.ns = nil
	err := n.d.kill(ctx, func(role string) bool { return isAgent(role) || role == rtRole+n.name })
	err = errors.Join(err, n.d.sweepNode(ctx, n.name, true), n.d.net.RemoveNode(ctx, n.number), unlinkName(n.d.Dir, n.name))
	if err != nil {
		return fmt.Errorf("turn %s off: %w", n.name, err)
	}
	return nil
}
