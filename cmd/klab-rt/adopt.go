//go:build linux && cgo

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/core/runtime/shim"
)

// adoptAll takes up the containers that an earlier klab-rt left.
func (s *server) adoptAll() error {
	entries, err := os.ReadDir(filepath.Join(s.root, "c"))
	if err != nil {
		return err
	}
	var pods, containers []bundle
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(s.root, "c", e.Name(), "rt.json"))
		if errors.Is(err, fs.ErrNotExist) {
			continue // a bundle that waits for its "create"
		}
		var r record
		if err == nil {
			err = json.Unmarshal(data, &r)
		}
		if err != nil {
			warn("container %s is lost: %v", e.Name(), err)
			continue
		}
		if r.Create.Pod == e.Name() || r.Create.Pod == "" { // they keep what the others need
			pods = append(pods, bundle{e.Name(), r})
		} else {
			containers = append(containers, bundle{e.Name(), r})
		}
	}
	for _, b := range append(pods, containers...) {
		if err := s.adopt(b.id, b.record); err != nil {
			warn("container %s cannot be taken up: %v", b.id, err) // the others can
		}
	}
	s.pump.Begin()
	return nil
}

type bundle struct {
	id     string
	record record
}

func (s *server) adopt(id string, r record) error {
	c := s.newContainer(id, r.Create)
	c.state = r.State
	switch r.State.Status {
	case shim.Creating:
		return c.discard()
	case shim.Failed:
		s.containers[id] = c
		return nil
	case shim.Exited:
		if lc, err := libcontainer.Load(s.stateDir(), id); err == nil {
			_ = lc.Destroy()
		}
		close(c.done)
		s.containers[id] = c
		return nil
	}
	lc, err := libcontainer.Load(s.stateDir(), id)
	if err != nil {
		os.RemoveAll(filepath.Join(s.stateDir(), id))
		c.state.Status, c.state.ExitCode, c.state.Finished = shim.Exited, 255, time.Now().UnixNano()
		c.state.Reason, c.state.Message = "ContainerStatusUnknown", fmt.Sprintf("klab-rt was away when the container ended: %v", err)
		c.untold = r.State.Status == shim.Created // it had ended, and that was all that was noted
		close(c.done)
		s.containers[id] = c
		return writeRecord(c.dir(), record{State: c.state, Create: c.req})
	}
	c.lc = lc
	if c.out, err = c.newOutput(c.state.TTY); err != nil {
		return err
	}
	if r.Create.Pod == id && startTicks(c.state.PID) == c.state.Ticks {
		if c.keep, err = openKeeper(c.state.PID); err != nil {
			warn("what pod %s keeps is lost: %v", id, err)
		}
	} else if pod := s.get(r.Create.Pod); pod != nil {
		c.keep = pod.keeper()
	}
	if c.state.TTY {
		c.out.takeTerminal(c.keep, id)
	}
	for _, stream := range c.out.streams {
		s.pump.Settle(stream)
	}
	if c.state.Status == shim.Created && c.runs() {
		if err := c.forgetFIFO(); err != nil {
			return err
		}
	}
	c.out.follow()
	s.containers[id] = c
	if status, err := lc.Status(); err == nil && c.state.Status == shim.Created && status == libcontainer.Running {
		c.state.Status, c.state.Started = shim.Running, time.Now().UnixNano()
	}
	go c.watchAdopted()
	return nil
}

// discard removes what is left of a container whose creation did not end; the
// bundle stays, the caller asks again.
func (c *container) discard() error {
	if lc, err := libcontainer.Load(c.s.stateDir(), c.id); err == nil {
		_ = lc.Signal(unix.SIGKILL)
		for range 200 {
			if err := lc.Destroy(); err == nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	} else if spec, err := readSpec(c.dir()); err == nil {
		_ = shim.KillCgroup(spec.Linux.CgroupsPath)
		_ = shim.RemoveCgroup(spec.Linux.CgroupsPath)
	}
	os.RemoveAll(filepath.Join(c.s.stateDir(), c.id))
	if err := unmountAll(c.req.Mounts); err != nil {
		return err
	}
	return os.Remove(filepath.Join(c.dir(), "rt.json"))
}

// watchAdopted waits for a process that is not our child.
func (c *container) watchAdopted() {
	pid := c.state.PID
	fd, kept := c.keeper().take(c.id, "pid")
	if !kept {
		var err error
		fd, err = unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
		if err != nil || startTicks(pid) != c.state.Ticks {
			if err == nil {
				unix.Close(fd)
			}
			c.ended(255, "klab-rt was away when the container ended")
			return
		}
	}
	defer unix.Close(fd)
	poll := func(events int16, timeout int) bool {
		fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
		n, _ := unix.Poll(fds, timeout)
		return n > 0 && fds[0].Revents&(events|unix.POLLHUP) != 0
	}
	for !poll(unix.POLLIN, -1) {
	}
	if code, ok := c.exitCodeOf(fd, pid); ok {
		c.ended(code, "")
		return
	}
	c.ended(255, "the container ended as the child of a process that did not keep its exit code")
}

// exitCodeOf finds how a process ended whose parent is somebody else: a zombie
// shows it in proc_pid_stat(5); once it is reaped, the pidfd knows it on Linux
// 6.15 and later.
func (c *container) exitCodeOf(fd, pid int) (int, bool) {
	for range 50 {
		if statField(pid, 3) == "Z" && startTicks(pid) == c.state.Ticks {
			if status, err := strconv.Atoi(statField(pid, 52)); err == nil {
				return waitStatusCode(syscall.WaitStatus(status)), true
			}
		}
		if status, ok := pidfdExit(fd); ok {
			return waitStatusCode(syscall.WaitStatus(status)), true
		}
		time.Sleep(2 * time.Millisecond)
	}
	return 0, false
}

// pidfdExit asks PIDFD_GET_INFO of <linux/pidfd.h> for the exit status.
func pidfdExit(fd int) (int32, bool) {
	const getInfo, infoExit = 0xC040FF0B, 1 << 3
	info := struct {
		mask, cgroup uint64
		ids          [11]uint32
		exit         int32
	}{mask: infoExit}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), getInfo, uintptr(unsafe.Pointer(&info)))
	return info.exit, errno == 0 && info.mask&infoExit != 0
}
