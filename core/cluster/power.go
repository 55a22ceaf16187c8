package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

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
	return d.nodeCommand(ctx, powerPath, node, power, nil)
}

// servePower answers SetPower. What it begins ends with the daemon and not
// with the request.
func (d *daemon) servePower(daemon context.Context) http.HandlerFunc {
	return serveNodeCommand(d, func(ctx context.Context, n *node, power Power) (any, error) {
		if !slices.Contains([]Power{PowerOn, Shutdown, PowerOff}, power) {
			return nil, wrongf("a node's power is \"start\", \"stop\" or \"kill\", not %q", power)
		}
		done := make(chan error, 1)
		d.work.Go(func() { done <- n.setPower(daemon, power) })
		select {
		case err := <-done:
			return nil, err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
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
		n.d.renewFaults(ctx)
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
