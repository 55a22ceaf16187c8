package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/netlab/nodens"
)

// agentRole begins the role of every agent, rtRole that of every klab-rt.
const (
	agentRole = "agent/"
	rtRole    = "klab-rt/"
)

// podGroups is the control group of a node's pods, beside that of its agent.
const podGroups = "kubepods"

// node is the daemon's side of one node: its namespaces, and the two processes
// that the daemon looks after. klab-rt has the containers and outlives both
// agent and daemon; the agent ends with the daemon.
type node struct {
	d      *daemon
	number int
	name   string

	mu   sync.Mutex
	ns   *nodens.Node            // nil while the node is off
	stop context.CancelCauseFunc // ends its processes' loops
	work sync.WaitGroup          // ends with the daemon's context, or with stop
}

// prepareNodes makes what the processes of all nodes need.
func (d *daemon) prepareNodes() error {
	if err := os.MkdirAll(filepath.Dir(d.rtBinary()), 0o755); err != nil {
		return err
	}
	return d.parts.RT(d.rtBinary())
}

// startNodes starts the processes of all nodes that are on.
func (d *daemon) startNodes(ctx context.Context) error {
	if err := d.prepareNodes(); err != nil {
		return err
	}
	running, err := d.processes()
	if err != nil {
		return err
	}
	var g errgroup.Group
	for _, n := range d.nodes.all() {
		if n.ns == nil {
			continue
		}
		earlier := 0
		for pid, role := range running {
			if role == rtRole+n.name {
				earlier = pid
			}
		}
		g.Go(func() error { return n.start(ctx, earlier) })
	}
	return g.Wait()
}

// start starts the node's processes and keeps them running until ctx ends or
// the node is turned off; earlier is the klab-rt of an earlier daemon, or 0.
func (n *node) start(ctx context.Context, earlier int) error {
	if err := n.d.pki.nodePKI(filepath.Join(n.d.node(n.name), "pki"), n.name, n.d.cfg.signingDuration(), n.name, nodeAddr(n.number).String()); err != nil {
		return err
	}
	ctx, n.stop = context.WithCancelCause(ctx)
	n.work.Go(func() {
		n.await(ctx, earlier)
		keep(ctx, rtRole+n.name, n.runRT)
	})
	n.work.Go(func() { keep(ctx, agentRole+n.name, n.runAgent) })
	return nil
}

// await waits until a klab-rt that an earlier daemon started has ended.
func (n *node) await(ctx context.Context, pid int) {
	if pid == 0 {
		return
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	_ = ended(ctx, fd)
}

// runRT runs the node's klab-rt. It goes on when ctx ends.
func (n *node) runRT(ctx context.Context) error {
	cmd, release, err := n.command(rtRole, n.d.rtBinary(), "-root", n.d.nodeRT(n.name))
	if err != nil {
		return err
	}
	defer release()
	if err := n.ns.Start(cmd); err != nil {
		return err
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	select {
	case err := <-exited:
		return fmt.Errorf("klab-rt ended: %v", err) //nolint:errorlint // nil too: it must not end at all
	case <-ctx.Done():
		return nil
	}
}

// runAgent runs the node's agent until it ends or ctx does. It gets the time
// to end its pods when the node is to be shut down.
func (n *node) runAgent(ctx context.Context) error {
	cmd, release, err := n.command(agentRole, n.d.parts.Self, "agent", n.d.Path, n.name, filepath.Join(n.ns.CgroupPath(), podGroups))
	if err != nil {
		return err
	}
	defer release()
	streams, err := hostStreams(cmd)
	if err != nil {
		return err
	}
	err = n.ns.Start(cmd)
	streams.Close()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() {
		end := syscall.SIGKILL
		if errors.Is(context.Cause(ctx), errShutdown) {
			end = shutdownSignal
		}
		_ = cmd.Process.Signal(end)
	})
	defer stop()
	return fmt.Errorf("agent ended: %v", cmd.Wait()) //nolint:errorlint // nil too
}

// command prepares a process of the node: marked as the cluster's, writing to
// its own log, and on cgroup v2 in a leaf of the node's control group.
func (n *node) command(role, path string, args ...string) (cmd *exec.Cmd, release func(), err error) {
	log, err := os.OpenFile(n.d.log(strings.TrimSuffix(role, "/")+"-"+n.name), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, nil, err
	}
	files := []*os.File{log}
	release = func() {
		for _, f := range files {
			f.Close()
		}
	}
	cmd = exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, "/"
	cmd.Env = append(os.Environ(), dirEnv+"="+n.d.Path, roleEnv+"="+role+n.name)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if nodens.Unified() {
		group, err := leafGroup(filepath.Join("/sys/fs/cgroup", n.ns.Cgroup, "klab"))
		if err != nil {
			release()
			return nil, nil, err
		}
		files = append(files, group)
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(group.Fd())
	}
	return cmd, release, nil
}

func leafGroup(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return os.Open(dir)
}
