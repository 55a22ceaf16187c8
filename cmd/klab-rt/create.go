//go:build linux && cgo

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/core/runtime/shim"
)

// create makes a container up to the point before its program runs. A program
// that cannot be run is no error here: the container is then Failed, and its
// start says why.
func (s *server) create(id string, req *shim.Create) (*shim.Response, error) {
	if id == "" || id != filepath.Base(id) || req == nil {
		return nil, fmt.Errorf("create: bad container id %q", id)
	}
	c := s.newContainer(id, *req)
	c.verbs.Lock()
	defer c.verbs.Unlock()
	s.mu.Lock()
	if have := s.containers[id]; have != nil {
		s.mu.Unlock()
		have.verbs.Lock() // a repeated call waits for the first
		defer have.verbs.Unlock()
		return &shim.Response{State: have.snapshot()}, nil
	}
	s.containers[id] = c
	s.mu.Unlock()

	s.starts <- struct{}{}
	defer func() { <-s.starts }()
	if err := writeRecord(c.dir(), record{State: *c.snapshot(), Create: c.req}); err != nil {
		s.forget(c)
		return nil, fmt.Errorf("create: %w", err)
	}
	process, err := c.launch()
	if err != nil {
		_ = unmountAll(c.req.Mounts)
		_ = c.update(func(st *shim.State) {
			st.Status, st.Created, st.Message = shim.Failed, time.Now().UnixNano(), "failed to create container task: "+err.Error()
		})
		return &shim.Response{State: c.snapshot()}, nil
	}
	pid, _ := process.Pid()
	err = c.update(func(st *shim.State) {
		st.Status, st.Created, st.PID, st.Ticks = shim.Created, time.Now().UnixNano(), pid, startTicks(pid)
	})
	s.own(pid, true)
	go func() {
		code := exitCode(process.Wait())
		s.own(pid, false)
		c.ended(code, "")
	}()
	return &shim.Response{State: c.snapshot()}, err
}

func (s *server) forget(c *container) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.containers, c.id)
}

// launch mounts, and starts the container's init.
func (c *container) launch() (_ initProcess, err error) {
	spec, err := readSpec(c.dir())
	if err != nil {
		return nil, err
	}
	notes := clamp(spec)
	c.mu.Lock()
	c.state.TTY, c.state.Notes = spec.Process.Terminal, notes
	c.mu.Unlock()
	if err := mountAll(c.req.Mounts); err != nil {
		return nil, err
	}
	config, err := specconv.CreateLibcontainerConfig(&specconv.CreateOpts{CgroupName: c.id, Spec: spec})
	if err != nil {
		return nil, err
	}
	if c.plainSandbox(spec) {
		return c.launchSandbox(spec, config)
	}
	lc, err := libcontainer.Create(c.s.stateDir(), c.id, config)
	if err != nil {
		return nil, err
	}
	process := newProcess(spec.Process)
	process.Init = true
	if err := c.launchInit(lc, process, config, spec.Process.Terminal); err != nil {
		return nil, err
	}
	return process, nil
}

// launchInit starts the container's init by libcontainer.
func (c *container) launchInit(lc *libcontainer.Container, process *libcontainer.Process, config *configs.Config, terminal bool) (err error) {
	keep, err := c.findKeeper()
	if err != nil {
		return err
	}
	defer func() {
		if err != nil && c.req.Pod == c.id {
			keep.close()
		}
	}()
	if c.req.Pod == c.id {
		if process.ExtraFiles, err = keep.ends(); err != nil {
			return err
		}
		defer shim.CloseAll(process.ExtraFiles)
	}
	out, err := c.newOutput(terminal)
	if err == nil {
		err = giveFiles(config, process.UID, out.fifos())
	}
	if err == nil {
		var given *stdio
		if given, err = out.connect(process); err == nil {
			err = lc.Start(process)
			err = errors.Join(err, given.started(out, err == nil))
		}
	}
	if err != nil {
		if out != nil {
			out.finish()
		}
		_ = lc.Destroy()
		return err
	}
	out.follow()
	c.mu.Lock()
	c.lc, c.out, c.keep = lc, out, keep
	c.mu.Unlock()
	if pid, err := process.Pid(); err == nil && c.req.Pod != c.id {
		keep.keep(c.id, out.toKeep())
		if pidfd, err := unix.PidfdOpen(pid, 0); err == nil {
			keep.keep(c.id, map[string]int{"pid": pidfd})
			unix.Close(pidfd)
		}
	}
	return nil
}

// launchSandbox starts a pause process that pause.c makes.
func (c *container) launchSandbox(spec *specs.Spec, config *configs.Config) (initProcess, error) {
	keep, err := newKeeper()
	if err != nil {
		return nil, err
	}
	out, err := c.newOutput(false)
	if err != nil {
		keep.close()
		return nil, err
	}
	lc, process, err := c.launchPause(spec, config, keep)
	if err != nil {
		keep.close()
		out.finish()
		return nil, err
	}
	c.mu.Lock()
	c.lc, c.out, c.keep = lc, out, keep
	c.mu.Unlock()
	return process, nil
}

// findKeeper is a new one for a sandbox, and for a container its sandbox's.
func (c *container) findKeeper() (*keeper, error) {
	if c.req.Pod == c.id {
		return newKeeper()
	}
	if pod := c.s.get(c.req.Pod); pod != nil {
		return pod.keeper(), nil
	}
	return nil, nil
}

func readSpec(dir string) (*specs.Spec, error) {
	data, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		return nil, err
	}
	var spec specs.Spec
	if err := json.Unmarshal(data, &spec); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	if spec.Process == nil || spec.Root == nil || spec.Linux == nil {
		return nil, errors.New("config.json: process, root and linux are required")
	}
	return &spec, nil
}

// newProcess is p in libcontainer's terms.
func newProcess(p *specs.Process) *libcontainer.Process {
	process := &libcontainer.Process{
		Args:            p.Args,
		Env:             p.Env,
		UID:             int(p.User.UID),
		GID:             int(p.User.GID),
		Cwd:             p.Cwd,
		NoNewPrivileges: &p.NoNewPrivileges,
		AppArmorProfile: p.ApparmorProfile,
		LogLevel:        strconv.Itoa(int(logrus.GetLevel())),
	}
	if size := p.ConsoleSize; size != nil {
		process.ConsoleWidth, process.ConsoleHeight = uint16(size.Width), uint16(size.Height)
	}
	for _, g := range p.User.AdditionalGids {
		process.AdditionalGroups = append(process.AdditionalGroups, int(g))
	}
	if caps := p.Capabilities; caps != nil {
		process.Capabilities = &configs.Capabilities{
			Bounding: caps.Bounding, Effective: caps.Effective, Permitted: caps.Permitted,
			Inheritable: caps.Inheritable, Ambient: caps.Ambient,
		}
	}
	for _, r := range p.Rlimits {
		if number, ok := rlimitNumbers[r.Type]; ok {
			process.Rlimits = append(process.Rlimits, configs.Rlimit{Type: number, Hard: r.Hard, Soft: r.Soft})
		}
	}
	return process
}

// exitCode is what a shell would say of a process that ended.
func exitCode(state *os.ProcessState, err error) int {
	if exit := (*exec.ExitError)(nil); state == nil && errors.As(err, &exit) {
		state = exit.ProcessState
	}
	if state == nil {
		warn("an exit code is lost: %v", err)
		return 255
	}
	return waitStatusCode(state.Sys().(syscall.WaitStatus))
}

func waitStatusCode(status syscall.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// startTicks is when a process began, in clock ticks since boot: field 22 of
// proc_pid_stat(5). 0 if there is no such process.
func startTicks(pid int) uint64 {
	ticks, _ := strconv.ParseUint(statField(pid, 22), 10, 64)
	return ticks
}

func statField(pid, number int) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	after := data[strings.LastIndexByte(string(data), ')')+1:]
	fields := strings.Fields(string(after)) // begins with field 3
	if number-3 >= len(fields) {
		return ""
	}
	return fields[number-3]
}
