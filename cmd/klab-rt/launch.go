//go:build linux && cgo

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/cgroups/manager"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/configs/validate"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Most sandboxes are not started by libcontainer: its init is this program
// with a Go runtime, which takes ten times as long as what there is to do for
// a process that only waits. pause.c does it. What libcontainer would have
// written is written here, so that from then on it has the container as any
// other. A sandbox with a user namespace is libcontainer's from the beginning.

// initProcess is the first process of a container.
type initProcess interface {
	Pid() (int, error)
	Wait() (*os.ProcessState, error)
}

// pauseProcess is one that libcontainer has not started.
type pauseProcess struct{ *os.Process }

func (p pauseProcess) Pid() (int, error) { return p.Process.Pid, nil }

// plainSandbox tells whether pause.c can make the container.
func (c *container) plainSandbox(spec *specs.Spec) bool {
	if c.req.Pod != c.id || c.req.Log != "" || c.req.Stdin || spec.Process.Terminal || spec.Linux.Seccomp != nil {
		return false
	}
	for _, ns := range spec.Linux.Namespaces {
		if ns.Type == specs.UserNamespace || ns.Path != "" {
			return false
		}
	}
	return true
}

// cloneFlags are those of clone(2) that make the namespaces.
func cloneFlags(list []specs.LinuxNamespace) (flags uintptr) {
	for _, ns := range list {
		flags |= map[specs.LinuxNamespaceType]uintptr{
			specs.MountNamespace: unix.CLONE_NEWNS, specs.PIDNamespace: unix.CLONE_NEWPID, specs.IPCNamespace: unix.CLONE_NEWIPC,
			specs.NetworkNamespace: unix.CLONE_NEWNET, specs.UTSNamespace: unix.CLONE_NEWUTS, specs.CgroupNamespace: unix.CLONE_NEWCGROUP,
		}[ns.Type]
	}
	return flags
}

// pauseWords are what pause.c is told, each with a zero byte behind it.
func pauseWords(spec *specs.Spec) []byte {
	adj := ""
	if spec.Process.OOMScoreAdj != nil {
		adj = strconv.Itoa(*spec.Process.OOMScoreAdj)
	}
	user := spec.Process.User
	words := []string{spec.Root.Path, spec.Hostname, adj, strconv.Itoa(int(user.UID)), strconv.Itoa(int(user.GID))}
	for name, value := range spec.Linux.Sysctl {
		words = append(words, "proc/sys/"+strings.ReplaceAll(name, ".", "/"), value)
	}
	return []byte(strings.Join(append(words, "go"), "\x00") + "\x00")
}

// launchPause starts a sandbox's pause process. It runs at once: there is
// nothing of its own to hold back.
func (c *container) launchPause(spec *specs.Spec, config *configs.Config, keep *keeper) (_ *libcontainer.Container, _ initProcess, err error) {
	if err := validate.Validate(config); err != nil {
		return nil, nil, err
	}
	cgroup, err := manager.New(config.Cgroups)
	if err != nil {
		return nil, nil, err
	}
	state := filepath.Join(c.s.stateDir(), c.id)
	if err := errors.Join(os.MkdirAll(c.s.stateDir(), 0o700), os.Mkdir(state, 0o711)); err != nil {
		return nil, nil, err
	}
	var process *os.Process
	defer func() {
		if err == nil {
			return
		}
		if process != nil {
			_ = process.Kill()
			_, _ = process.Wait()
		}
		err = errors.Join(err, cgroup.Destroy(), os.RemoveAll(state))
	}()
	process, talk, err := c.clonePause(spec, keep)
	if err != nil {
		return nil, nil, err
	}
	defer talk.close()
	if err := cgroup.Apply(process.Pid); err != nil {
		return nil, nil, fmt.Errorf("unable to apply cgroup configuration: %w", err)
	}
	if err := cgroup.Set(config.Cgroups.Resources); err != nil {
		return nil, nil, fmt.Errorf("unable to set cgroup limits: %w", err)
	}
	if err := writeState(state, c.id, process.Pid, config, cgroup.GetPaths()); err != nil {
		return nil, nil, err
	}
	if err := talk.say(pauseWords(spec)); err != nil {
		return nil, nil, err
	}
	lc, err := libcontainer.Load(c.s.stateDir(), c.id)
	return lc, pauseProcess{process}, err
}

// pauseTalk are our ends of the pipes to a process that sets itself up.
type pauseTalk struct{ words, report *os.File }

func (t pauseTalk) close() {
	t.words.Close()
	t.report.Close()
}

// say tells the process what to do and waits until it has become /pause.
func (t pauseTalk) say(words []byte) error {
	if _, err := t.words.Write(words); err != nil {
		return fmt.Errorf("pause: %w", err)
	}
	t.words.Close()
	problem, err := io.ReadAll(t.report)
	if err == nil && len(problem) > 0 {
		err = errors.New(string(problem))
	}
	if err != nil {
		return fmt.Errorf("pause: %w", err)
	}
	return nil
}

// clonePause makes the process in its namespaces; it waits for its words.
func (c *container) clonePause(spec *specs.Spec, keep *keeper) (*os.Process, pauseTalk, error) {
	wordsOut, wordsIn, err := os.Pipe()
	if err != nil {
		return nil, pauseTalk{}, err
	}
	defer wordsOut.Close()
	reportOut, reportIn, err := os.Pipe()
	if err != nil {
		wordsIn.Close()
		return nil, pauseTalk{}, err
	}
	defer reportIn.Close()
	talk := pauseTalk{wordsIn, reportOut}
	ends, err := keep.ends()
	if err != nil {
		talk.close()
		return nil, pauseTalk{}, err
	}
	defer ends[0].Close()
	defer ends[1].Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		talk.close()
		return nil, pauseTalk{}, err
	}
	defer null.Close()
	process, err := os.StartProcess("/proc/self/exe", []string{"/pause", "setup"}, &os.ProcAttr{
		Dir: "/", Env: []string{"PATH=/"},
		Files: []*os.File{null, null, null, ends[0], ends[1], wordsOut, reportIn},
		Sys:   &syscall.SysProcAttr{Setsid: true, Cloneflags: cloneFlags(spec.Linux.Namespaces)},
	})
	if err != nil {
		talk.close()
		return nil, pauseTalk{}, fmt.Errorf("unable to start pause: %w", err)
	}
	return process, talk, nil
}

// writeState writes what libcontainer.Load reads.
func writeState(dir, id string, pid int, config *configs.Config, cgroups map[string]string) error {
	state := libcontainer.State{
		BaseState: libcontainer.BaseState{
			ID: id, InitProcessPid: pid, InitProcessStartTime: startTicks(pid), Created: time.Now().UTC(), Config: *config,
		},
		CgroupPaths:    cgroups,
		NamespacePaths: map[configs.NamespaceType]string{},
	}
	for _, kind := range configs.NamespaceTypes() {
		ns := configs.Namespace{Type: kind}
		state.NamespacePaths[kind] = ns.GetPath(pid)
	}
	data, err := json.Marshal(state)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, "state.json")
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
