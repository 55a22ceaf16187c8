package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// lock marks the cluster as running for as long as the returned file is open.
// The kernel releases it with the process, however that ends.
func (d Dir) lock() (*os.File, error) {
	f, err := os.OpenFile(d.lockFile(), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, d.alreadyUp()
		}
		return nil, fmt.Errorf("lock %s: %w", d.lockFile(), err)
	}
	if err := errors.Join(f.Truncate(0), writePID(f)); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func writePID(f *os.File) error {
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0)
	return err
}

func (d Dir) alreadyUp() error {
	return fmt.Errorf("the cluster %q is up already (process %d): use it, take it down with \"klab down\", or name another one with --cluster", d.Name, d.Daemon())
}

// endPatience is how long a process that was killed may take to end.
const endPatience = 30 * time.Second

// free is nil when no daemon has the cluster. It waits for one that was killed
// and has not quite ended: such a one has the lock, but does not answer.
func (d Dir) free(ctx context.Context) error {
	pid := d.Daemon()
	if pid == 0 {
		return nil
	}
	if pid < 0 {
		return d.alreadyUp()
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for until := time.Now().Add(endPatience); ctx.Err() == nil && time.Now().Before(until) && !d.answers(ctx); {
		look, done := context.WithTimeout(ctx, 10*time.Millisecond)
		err := ended(look, fd)
		done()
		if err == nil {
			return nil
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return d.alreadyUp()
}

// answers is whether the daemon does.
func (d Dir) answers(ctx context.Context) bool {
	client, err := Connect(d)
	if err != nil {
		return false
	}
	ctx, done := context.WithTimeout(ctx, time.Second)
	defer done()
	_, err = client.Mode(ctx)
	return err == nil
}

// Daemon is the process id of the cluster's daemon, or 0 if it is not up.
func (d Dir) Daemon() int {
	f, err := os.Open(d.lockFile())
	if err != nil {
		return 0
	}
	defer f.Close()
	if unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil {
		return 0 // nobody holds it
	}
	data := make([]byte, 20)
	n, _ := f.Read(data)
	pid, err := strconv.Atoi(strings.TrimSpace(string(data[:n])))
	if err != nil {
		return -1 // it has just started
	}
	return pid
}
