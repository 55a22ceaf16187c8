package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// dirEnv marks the processes of a cluster: its value is the cluster's
// directory. Containers do not have it.
const dirEnv = "KLAB_CLUSTER_DIR"

// roleEnv says what a process of a cluster is: "agent/node-1".
const roleEnv = "KLAB_ROLE"

// daemonRole is the role of the daemon.
const daemonRole = "daemon"

// processes lists the cluster's processes by role, without the caller.
func (d Dir) processes() (map[int]string, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return nil, err
	}
	found := map[int]string{}
	for _, p := range paths {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(p)))
		if err != nil || pid == os.Getpid() {
			continue
		}
		if role, ours := d.roleOf(pid); ours {
			found[pid] = role
		}
	}
	return found, nil
}

// roleOf is what a process is in this cluster, if it is one of it.
func (d Dir) roleOf(pid int) (role string, ours bool) {
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return "", false // it has ended
	}
	mine := []byte(dirEnv + "=" + d.Path)
	for v := range bytes.SplitSeq(env, []byte{0}) {
		ours = ours || bytes.Equal(v, mine)
		if r, ok := bytes.CutPrefix(v, []byte(roleEnv+"=")); ok {
			role = string(r)
		}
	}
	return role, ours
}

// kill ends the cluster's processes for which the role is accepted, and waits
// until they have ended. It looks again until there are none: one of them may
// have started another one just before its own end.
func (d Dir) kill(ctx context.Context, accept func(role string) bool) error {
	for {
		found, err := d.processes()
		if err != nil {
			return err
		}
		maps.DeleteFunc(found, func(_ int, role string) bool { return !accept(role) })
		if len(found) == 0 {
			return nil
		}
		for pid, role := range found {
			if err := killAndWait(ctx, pid); err != nil {
				return fmt.Errorf("end %s (process %d): %w", role, pid, err)
			}
		}
	}
}

func killAndWait(ctx context.Context, pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	return ended(ctx, fd)
}

// ended waits until the process of a pidfd has ended.
func ended(ctx context.Context, pidfd int) error {
	for ctx.Err() == nil {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 100)
		if n > 0 || err != nil && !errors.Is(err, unix.EINTR) {
			return nil
		}
	}
	return context.Cause(ctx)
}

// keep runs one process of the cluster until ctx ends: start returns when the
// process has ended, and is called again. What ends at once is started again
// later and later.
func keep(ctx context.Context, name string, start func(context.Context) error) {
	const first, most = 10 * time.Millisecond, 5 * time.Second
	wait := first
	for ctx.Err() == nil {
		began := time.Now()
		err := start(ctx)
		if ctx.Err() != nil {
			return
		}
		slog.Error("process ended, starting it again", "process", name, "err", err)
		if time.Since(began) > most {
			wait = first
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
		wait = min(2*wait, most)
	}
}
