//go:build linux && cgo

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/core/runtime/shim"
)

// container is one container from its creation until it is deleted.
//
// Locks are taken in the order verbs, told, server.mu, mu.
type container struct {
	s    *server
	id   string
	req  shim.Create
	done chan struct{} // closed when it has ended

	verbs sync.Mutex // start and delete, one at a time
	limit sync.Mutex // limits change, or a command starts in it
	told  sync.Mutex // states are told in the order in which they came

	mu    sync.Mutex
	state shim.State
	lc    *libcontainer.Container // nil before it is created and after it ended
	out   *output                 // nil before it is created
	keep  *keeper                 // the pod's; nil if it has none
	// It ended after a klab-rt had started it that did not live to say so: who
	// asks for that once more is told.
	untold bool
}

// record is what a container's rt.json holds.
type record struct {
	State  shim.State  `json:"state"`
	Create shim.Create `json:"create"`
}

func (s *server) newContainer(id string, req shim.Create) *container {
	c := &container{s: s, id: id, req: req, done: make(chan struct{})}
	c.state = shim.State{ID: id, Status: shim.Creating}
	return c
}

func (c *container) dir() string { return shim.Bundle(c.s.root, c.id) }

func (c *container) snapshot() *shim.State {
	c.mu.Lock()
	defer c.mu.Unlock()
	state := c.state
	return &state
}

func (c *container) loaded() *libcontainer.Container {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lc
}

func (c *container) output() *output {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out
}

func (c *container) keeper() *keeper {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.keep
}

// update changes the state, on disk first, and tells everybody.
func (c *container) update(change func(*shim.State)) error {
	c.told.Lock()
	defer c.told.Unlock()
	c.mu.Lock()
	change(&c.state)
	state := c.state
	err := writeRecord(c.dir(), record{State: state, Create: c.req})
	c.mu.Unlock()
	c.s.publish(shim.Event{State: &state})
	return err
}

func writeRecord(dir string, r record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, "rt.json")
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// start lets the program of a created container run.
func (c *container) start() error {
	c.verbs.Lock()
	defer c.verbs.Unlock()
	lc := c.loaded()
	if c.tell() {
		return nil
	}
	switch state := c.snapshot(); state.Status {
	case shim.Running:
		return nil
	case shim.Failed:
		now := time.Now().UnixNano()
		_ = c.update(func(s *shim.State) {
			s.Status, s.ExitCode, s.Reason, s.Started, s.Finished = shim.Exited, 128, "StartError", now, now
		})
		close(c.done)
		return &shim.Error{Code: shim.CodeStart, Message: state.Message}
	case shim.Exited:
		if state.Reason == "StartError" {
			return &shim.Error{Code: shim.CodeStart, Message: state.Message}
		}
		return &shim.Error{Code: shim.CodeState, Message: "the container has ended already"}
	case shim.Creating:
		return &shim.Error{Code: shim.CodeState, Message: "the container is being created"}
	}
	if lc == nil {
		return &shim.Error{Code: shim.CodeState, Message: "the container has ended already"}
	}
	now := time.Now().UnixNano()
	if err := c.release(lc); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	return c.update(func(s *shim.State) {
		s.Started, c.untold = now, false
		if s.Status == shim.Created {
			s.Status = shim.Running
		}
	})
}

// kill signals the first process. A container that has ended is no error.
func (c *container) kill(sig unix.Signal) error {
	lc := c.loaded()
	if lc == nil {
		return nil
	}
	if sig == unix.SIGKILL {
		_ = c.freeze(false) // a frozen process does not die on cgroup v1
	}
	err := lc.Signal(sig)
	if errors.Is(err, libcontainer.ErrNotRunning) {
		return nil
	}
	return err
}

func (c *container) freeze(on bool) error {
	lc := c.loaded()
	if lc == nil || c.snapshot().Frozen == on {
		return nil
	}
	act := lc.Resume
	if on {
		act = lc.Pause
	}
	if err := act(); err != nil && !errors.Is(err, libcontainer.ErrNotRunning) && !errors.Is(err, libcontainer.ErrNotPaused) {
		return err
	}
	return c.update(func(s *shim.State) { s.Frozen = on })
}

// ended is called once, when the first process is gone.
func (c *container) ended(code int, unknown string) {
	lc := c.loaded()
	oom := oomKills(lc) // now: the cgroup goes with Destroy
	c.note()
	if err := destroy(lc); err != nil {
		warn("destroy %s: %v", c.id, err)
	}
	c.output().finish()
	if keep := c.keeper(); c.req.Pod == c.id {
		keep.close()
	} else {
		keep.drop(c.id)
	}
	_ = c.update(func(s *shim.State) {
		if s.Started == 0 {
			s.Started = s.Created
		}
		s.Status, s.Frozen, s.Finished, s.ExitCode, s.OOMKills = shim.Exited, false, time.Now().UnixNano(), code, oom
		switch {
		case unknown != "":
			s.Reason, s.Message = "ContainerStatusUnknown", unknown
		case oom > 0 && code != 0:
			s.Reason = "OOMKilled"
		case code != 0:
			s.Reason = "Error"
		default:
			s.Reason = "Completed"
		}
	})
	c.mu.Lock()
	c.lc = nil
	c.mu.Unlock()
	close(c.done)
}

// destroy removes what libcontainer made. What shares a pod's or the node's pid
// namespace is killed by this and may take longer to go than libcontainer waits.
func destroy(lc *libcontainer.Container) error {
	err := lc.Destroy()
	for until := time.Now().Add(dying); err != nil && time.Now().Before(until); err = lc.Destroy() {
		time.Sleep(50 * time.Millisecond)
	}
	return err
}

// dying is how long what was killed may take to go, on a machine that is busy
// with other things.
const dying = time.Minute

// delete ends the container and removes all of it.
func (s *server) delete(id string) error {
	c := s.get(id)
	if c == nil {
		return nil
	}
	c.verbs.Lock()
	defer c.verbs.Unlock()
	if s.get(id) != c {
		return nil
	}
	if state := c.snapshot(); state.Status == shim.Created || state.Status == shim.Running {
		if err := c.kill(unix.SIGKILL); err != nil {
			return err
		}
		select {
		case <-c.done:
		case <-time.After(dying):
			return fmt.Errorf("container %s was killed and has not ended for %s: the kernel does not let a process of it go; delete it again when that is gone", id, dying)
		}
	}
	if err := unmountAll(c.req.Mounts); err != nil {
		return err
	}
	if err := os.RemoveAll(c.dir()); err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.containers, id)
	s.mu.Unlock()
	s.publish(shim.Event{Gone: id})
	return nil
}

func warn(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s klab-rt: %s\n", time.Now().Format(time.RFC3339), fmt.Sprintf(format, args...))
}
