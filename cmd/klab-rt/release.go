//go:build linux && cgo

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/core/runtime/shim"
)

// fifo is what a container's first process writes into before it executes the
// program: it waits there for a reader, who then removes the FIFO.
func (c *container) fifo() string { return filepath.Join(c.s.stateDir(), c.id, "exec.fifo") }

// released tells whether the first process was let go on.
func (c *container) released() bool {
	_, err := os.Lstat(c.fifo())
	return errors.Is(err, fs.ErrNotExist)
}

// runs tells whether the first process has executed the program: until then it
// has the name that libcontainer gives it. A later process with its number is
// not it.
func (c *container) runs() bool {
	state := c.snapshot()
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", state.PID))
	return err == nil && strings.TrimSpace(string(name)) != "runc:[2:INIT]" && startTicks(state.PID) == state.Ticks
}

// release lets the first process execute the program. A pause process that was
// not held back runs already, and so does one that a klab-rt has let go which
// was killed before it said so, or even before it had removed the FIFO.
func (c *container) release(lc *libcontainer.Container) error {
	if c.released() {
		return nil
	}
	read := make(chan error, 1)
	go func() { read <- lc.Exec() }()
	for again := false; ; {
		select {
		case err := <-read:
			if again && err != nil {
				err = c.forgetFIFO()
			}
			return err
		case <-time.After(50 * time.Millisecond):
		}
		if !c.runs() {
			continue
		}
		// Nobody is going to write, unless that has just been done: an end without
		// anything lets the reader go.
		again = true
		if fd, err := unix.Open(c.fifo(), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err == nil {
			unix.Close(fd)
		}
	}
}

// forgetFIFO removes what somebody has read from who was killed before he did so.
func (c *container) forgetFIFO() error {
	err := os.Remove(c.fifo())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// note is called when the first process is gone, and finds out whether anybody
// was told that the program ran.
func (c *container) note() {
	released := c.released()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.untold = released && c.state.Status == shim.Created && c.req.Pod != c.id
}

// tell tells, once, that the program ran and ended before anybody was told.
func (c *container) tell() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	told := c.untold && c.state.Status == shim.Exited
	if told {
		c.untold = false
	}
	return told
}
