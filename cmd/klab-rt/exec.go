//go:build linux && cgo

package main

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/opencontainers/cgroups/manager"
	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/core/runtime/shim"
)

// exec runs a command in a running container until it ends or the caller
// hangs up. Its streams are the caller's own files: no byte passes through
// klab-rt.
func (c *container) exec(conn *net.UnixConn, req *shim.Exec, files []*os.File) (*shim.Response, error) {
	lc := c.loaded()
	if lc == nil || c.snapshot().Status != shim.Running {
		return nil, &shim.Error{Code: shim.CodeState, Message: "container not running: it is " + string(c.snapshot().Status)}
	}
	if req == nil || len(req.Args) == 0 {
		return nil, errors.New("exec: no command given")
	}
	want := 3
	if req.TTY {
		want = 1
	}
	if len(files) != want {
		return nil, fmt.Errorf("exec: %d files came with the request, not %d", len(files), want)
	}
	spec, err := readSpec(c.dir())
	if err != nil {
		return nil, err
	}
	clamp(spec)
	spec.Process.Args = req.Args
	process := newProcess(spec.Process)
	if req.TTY {
		process.ConsoleSocket = files[0]
		if req.Size != nil {
			process.ConsoleWidth, process.ConsoleHeight = req.Size.Width, req.Size.Height
		}
	} else {
		process.Stdin, process.Stdout, process.Stderr = files[0], files[1], files[2]
		config := lc.Config()
		if err := giveFiles(&config, process.UID, files); err != nil {
			return nil, err
		}
	}
	c.s.starts <- struct{}{}
	c.limit.Lock()
	err = lc.Start(process)
	c.limit.Unlock()
	<-c.s.starts
	if err != nil {
		return nil, &shim.Error{Code: shim.CodeStart, Message: "failed to exec in container: " + err.Error()}
	}
	shim.CloseAll(files)
	pid, _ := process.Pid()
	c.s.own(pid, true)
	defer c.s.own(pid, false)
	ended := make(chan int, 1)
	go func() { ended <- exitCode(process.Wait()) }()
	select {
	case code := <-ended:
		return &shim.Response{ExitCode: code}, nil
	case <-hungUp(conn):
		_ = process.Signal(unix.SIGKILL)
		return &shim.Response{ExitCode: <-ended}, nil
	}
}

// oomKills is how many processes of the container the kernel killed for want
// of memory: memory.events of cgroup v2, memory.oom_control of v1.
func oomKills(lc *libcontainer.Container) uint64 {
	state, err := lc.State()
	if err != nil {
		return 0
	}
	m, err := manager.NewWithPaths(state.Config.Cgroups, state.CgroupPaths)
	if err != nil {
		return 0
	}
	count, _ := m.OOMKillCount()
	return count
}
