package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
)

// Names under which [shell.called] sends builtins to [shell.exec]; no command
// is called so.
const (
	waitBuiltin = "wait (builtin)"
	execBuiltin = "exec (builtin)"
	killCommand = "kill (command)" // the interpreter knows kill as a builtin but has none
)

// called is asked before every simple command: it takes over trap, wait and
// exec, and lets traps run between commands.
func (s *shell) called(_ context.Context, args []string) ([]string, error) {
	if text := s.takeTraps(); text != "" {
		return []string{"eval", text + "\n" + quoteAll(args)}, nil
	}
	switch {
	case args[0] == "trap":
		return s.setTraps(args), nil
	case args[0] == "kill":
		return append([]string{killCommand}, args[1:]...), nil
	case args[0] == "wait":
		return append([]string{waitBuiltin}, args[1:]...), nil
	case args[0] == "exec" && len(args) > 1 && s.replace:
		return append([]string{execBuiltin}, args[1:]...), nil
	}
	return args, nil
}

// exec runs a command in a process of its own.
func (s *shell) exec(ctx context.Context, args []string) error {
	hc := interp.HandlerCtx(ctx)
	switch args[0] {
	case waitBuiltin:
		return s.wait(ctx, hc, args[1:])
	case execBuiltin:
		return s.become(hc, args[1:])
	case killCommand:
		args = append([]string{"kill"}, args[1:]...)
	}
	path, ok := s.lookUp(hc, args[0])
	if !ok {
		fmt.Fprintf(hc.Stderr, "sh: %s: not found\n", args[0])
		return interp.ExitStatus(127)
	}
	cmd := exec.CommandContext(ctx, path)
	cmd.Args, cmd.Env, cmd.Dir = args, environment(hc.Env), hc.Dir
	cmd.Stdin, cmd.Stdout, cmd.Stderr = hc.Stdin, hc.Stdout, hc.Stderr
	s.mu.Lock()
	err := cmd.Start()
	if err == nil {
		s.children[cmd.Process.Pid] = true
	}
	s.mu.Unlock()
	if errors.Is(err, syscall.ENOEXEC) {
		// A script without "#!" is run by a shell, says POSIX.
		return s.exec(ctx, append([]string{"sh", path}, args[1:]...))
	}
	if err != nil {
		fmt.Fprintf(hc.Stderr, "sh: %v\n", err)
		return interp.ExitStatus(126)
	}
	err = cmd.Wait()
	s.mu.Lock()
	delete(s.children, cmd.Process.Pid)
	s.mu.Unlock()
	return exitStatus(err)
}

// lookUp finds a program in PATH; an applet is found even where there are no
// links to it.
func (s *shell) lookUp(hc interp.HandlerContext, name string) (string, bool) {
	if path, err := interp.LookPathDir(hc.Dir, hc.Env, name); err == nil {
		return path, true
	}
	if appletNamed(name) == nil {
		return "", false
	}
	self, err := os.Executable()
	return self, err == nil
}

// exitStatus is what "$?" becomes: the status, or 128+n for a signal.
func exitStatus(err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return interp.ExitStatus(128 + status.Signal())
	}
	return interp.ExitStatus(exit.ExitCode())
}

// environment is the exported variables as exec wants them.
func environment(env expand.Environ) []string {
	values := make(map[string]string)
	for name, v := range env.Each {
		switch {
		case !v.IsSet():
			delete(values, name)
		case v.Exported && v.Kind == expand.String:
			values[name] = v.Str
		}
	}
	out := make([]string, 0, len(values))
	for name, v := range values {
		out = append(out, name+"="+v)
	}
	return out
}

// become replaces this process, so that the new program is PID 1 if the shell
// was: "exec httpd" then gets the container's signals.
func (s *shell) become(hc interp.HandlerContext, args []string) error {
	path, ok := s.lookUp(hc, args[0])
	if !ok {
		fmt.Fprintf(hc.Stderr, "sh: exec: %s: not found\n", args[0])
		return interp.ExitStatus(127)
	}
	for fd, stream := range []any{hc.Stdin, hc.Stdout, hc.Stderr} {
		f, ok := stream.(*os.File)
		if !ok || int(f.Fd()) == fd {
			continue
		}
		if err := unix.Dup3(int(f.Fd()), fd, 0); err != nil {
			return fmt.Errorf("exec: %w", err)
		}
	}
	if err := os.Chdir(hc.Dir); err != nil {
		return err
	}
	fmt.Fprintf(hc.Stderr, "sh: exec: %v\n", syscall.Exec(path, args, environment(hc.Env)))
	os.Exit(126)
	return nil
}

// wait is the builtin, but a trapped signal ends it early as POSIX demands.
func (s *shell) wait(ctx context.Context, hc interp.HandlerContext, args []string) error {
	s.setWaiting(true)
	defer s.setWaiting(false)
	done := make(chan error, 1)
	go func() { done <- hc.Builtin(ctx, append([]string{"wait"}, args...)) }()
	select {
	case err := <-done:
		return err
	case <-s.arrived:
		return interp.ExitStatus(128 + syscall.SIGTERM)
	}
}

func (s *shell) setWaiting(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = on
}

// reap takes orphans' exit statuses: PID 1 inherits every orphan of its
// namespace, and one that nobody waits for stays a zombie. The children that
// one of our commands waits for are left to it.
func (s *shell) reap() {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, err := processes()
	if err != nil {
		return
	}
	for _, p := range all {
		if p.ppid == os.Getpid() && p.state == "Z" && !s.children[p.pid] {
			// It is a zombie and ours alone: there is nothing to fail.
			_, _ = syscall.Wait4(p.pid, nil, syscall.WNOHANG, nil)
		}
	}
}
