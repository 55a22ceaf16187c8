package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/term"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// shellApplets are sh and the commands that are its builtins.
func shellApplets() []applet {
	all := []applet{{name: "sh", usage: "[-eux] [-c TEXT [NAME [ARG ...]] | FILE [ARG ...]]", run: sh, signals: true, unbuffered: true}}
	for _, name := range []string{"test", "[", "printf"} {
		all = append(all, applet{name: name, usage: "ARG ...", run: builtin})
	}
	return all
}

// shell is mvdan.cc/sh's interpreter together with the parts of a shell that
// have to do with processes: real exec, signals and traps, orphans.
//
// What differs from dash: background jobs are not numbered by process ("$!" is
// "g1": wait knows it, kill does not; use killall NAME), and there is no job
// control.
type shell struct {
	*call
	runner      *interp.Runner
	interactive bool
	replace     bool // the statement being run may replace this process: see exec

	mu       sync.Mutex
	children map[int]bool // processes that a command of ours waits for
	traps    map[syscall.Signal]string
	pending  []syscall.Signal
	waiting  bool // in the wait builtin, which a trap interrupts
	arrived  chan struct{}
	signals  chan os.Signal
}

func sh(c *call) int {
	opts, args, text, err := shellArgs(c.args)
	if err != nil {
		return c.usage(err.Error())
	}
	s := &shell{
		call: c, children: map[int]bool{}, traps: map[syscall.Signal]string{},
		arrived: make(chan struct{}, 1), signals: make(chan os.Signal, 16),
	}
	stdin, isFile := c.in.(*os.File)
	s.interactive = text == nil && len(args) == 0 && isFile && term.IsTerminal(int(stdin.Fd()))
	params := opts
	if len(args) > 1 {
		params = slices.Concat(opts, []string{"--"}, args[1:])
	}
	s.runner, err = interp.New(interp.StdIO(c.in, c.out, c.err), interp.Params(params...),
		interp.Interactive(s.interactive), interp.CallHandler(s.called),
		interp.ExecHandlers(func(interp.ExecHandlerFunc) interp.ExecHandlerFunc { return s.exec }))
	if err != nil {
		return c.failf("%v", err)
	}
	s.watchSignals()
	defer signal.Stop(s.signals)
	switch {
	case text != nil:
		return s.script(strings.NewReader(*text), "sh")
	case len(args) > 0:
		f, err := os.Open(args[0])
		if err != nil {
			c.failf("%v", err)
			return 127
		}
		defer f.Close()
		return s.script(f, args[0])
	case s.interactive:
		return s.converse(stdin)
	}
	return s.lines(c.in)
}

// shellArgs splits the arguments of sh: set-options, the text of -c, and what
// "$0" and the parameters are.
func shellArgs(args []string) (opts, rest []string, text *string, err error) {
	command := false
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' && args[0] != "--" {
		for _, l := range args[0][1:] {
			switch l {
			case 'c':
				command = true
			case 'i', 'l', 's': // decided by the terminal; no profile is read
			case 'e', 'u', 'x', 'n', 'f':
				opts = append(opts, "-"+string(l))
			default:
				return nil, nil, nil, fmt.Errorf("unknown option -%c", l)
			}
		}
		args = args[1:]
	}
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if command {
		if len(args) == 0 {
			return nil, nil, nil, errors.New("-c needs a command")
		}
		return opts, args[1:], &args[0], nil
	}
	return opts, args, nil, nil
}

// script runs a whole text that must parse before anything of it runs.
func (s *shell) script(r io.Reader, name string) int {
	file, err := syntax.NewParser().Parse(r, name)
	if err != nil {
		s.failf("%v", err)
		return 2
	}
	code, _ := s.statements(file.Stmts)
	return s.finish(code)
}

// lines runs a text as it arrives.
func (s *shell) lines(r io.Reader) int {
	code := 0
	for stmts, err := range syntax.NewParser().InteractiveSeq(r) {
		if err != nil {
			s.failf("%v", err)
			return 2
		}
		exited := false
		if code, exited = s.statements(stmts); exited {
			break
		}
	}
	return s.finish(code)
}

// statements runs them in turn, and says whether the shell is to exit.
func (s *shell) statements(stmts []*syntax.Stmt) (code int, exited bool) {
	for _, stmt := range stmts {
		s.replace = isExec(stmt)
		code = s.status(s.runner.Run(context.Background(), stmt))
		if s.runner.Exited() {
			return code, true
		}
	}
	if text := s.takeTraps(); text != "" {
		return s.trap(text, code)
	}
	return code, false
}

// trap runs the text of a trap; unless it exits, the status stays as it was.
func (s *shell) trap(text string, code int) (int, bool) {
	file, err := syntax.NewParser().Parse(strings.NewReader(text), "trap")
	if err != nil {
		s.failf("%v", err)
		return code, false
	}
	for _, stmt := range file.Stmts {
		trapped := s.status(s.runner.Run(context.Background(), stmt))
		if s.runner.Exited() {
			return trapped, true
		}
	}
	return code, false
}

// finish lets an EXIT trap run: the interpreter does that after a file.
func (s *shell) finish(code int) int {
	if !s.runner.Exited() {
		if err := s.runner.Run(context.Background(), &syntax.File{}); err != nil {
			return s.status(err)
		}
	}
	return code
}

func (s *shell) status(err error) int {
	var status interp.ExitStatus
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	}
	return s.failf("%v", err)
}

// isExec reports whether a statement is a plain "exec COMMAND" of the main
// program: only there may the process be replaced, as the interpreter's
// subshells share it.
func isExec(stmt *syntax.Stmt) bool {
	c, ok := stmt.Cmd.(*syntax.CallExpr)
	return ok && !stmt.Background && len(c.Args) > 1 && c.Args[0].Lit() == "exec"
}

// builtin runs one of the interpreter's builtins as a command.
func builtin(c *call) int {
	file, err := syntax.NewParser().Parse(strings.NewReader(`'`+c.name+`' "$@"`), c.name)
	if err != nil {
		return c.failf("%v", err)
	}
	runner, err := interp.New(interp.StdIO(c.in, c.out, c.err), interp.Params(append([]string{"--"}, c.args...)...))
	if err != nil {
		return c.failf("%v", err)
	}
	return (&shell{call: c}).status(runner.Run(context.Background(), file))
}
