package main

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestShell(t *testing.T) {
	for _, tc := range []struct {
		name, text, input string
		out               string
		code              int
	}{
		{name: "status of the last command", text: "echo hi; sleep 0.01; exit 3", out: "hi\n", code: 3},
		{name: "a command's status", text: "false", code: 1},
		{name: "pipes and substitution", text: `echo $(seq 3 | wc -l) "$((1+1))"`, out: "3 2\n"},
		{name: "functions and loops", text: `f() { echo "$1!"; }; for i in a b; do f $i; done`, out: "a!\nb!\n"},
		{name: "exported variables only", text: `A=1; export B=2; printenv A; printenv B`, out: "2\n"},
		{name: "killed by a signal", text: `sh -c 'kill -9 $$'; echo $?`, out: "137\n"},
		{name: "exec replaces the shell", text: `p=$$; exec sh -c 'test $$ = '$p' && echo same'`, out: "same\n"},
		{name: "redirections", text: `echo x >f; cat <f; exec cat <f`, out: "x\nx\n"},
		{name: "EXIT trap", text: `trap 'echo bye' EXIT; echo hi`, out: "hi\nbye\n"},
		{name: "TERM trap between commands", text: `trap 'echo caught; exit 7' TERM; kill -TERM $$; while true; do sleep 0.01; done`, out: "caught\n", code: 7},
		{name: "TERM trap interrupts wait", text: `trap 'echo caught; exit 4' TERM; sleep 3 >/dev/null 2>&1 & (sleep 0.05; kill -TERM $$) & wait; echo on`, out: "caught\n", code: 4},
		{name: "ignored signal", text: `trap '' TERM; kill -TERM $$; sleep 0.05; echo alive`, out: "alive\n"},
		{name: "from standard input", input: "echo one\nif true\nthen echo two\nfi\nexit 5\n", out: "one\ntwo\n", code: 5},
		{name: "set -e", text: "set -e; false; echo no", code: 1},
		{name: "syntax error runs nothing", text: "echo no; if", code: 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			argv := []string{"sh", "-c", tc.text}
			if tc.text == "" {
				argv = argv[:1]
			}
			r := run(t, tc.input, argv...)
			require.Equal(t, tc.out, r.out, r.err)
			require.Equal(t, tc.code, r.code, r.err)
		})
	}
}

func TestShellScriptFile(t *testing.T) {
	file := t.TempDir() + "/script"
	require.NoError(t, os.WriteFile(file, []byte("echo \"$1 $#\"\n"), 0o755))
	require.Equal(t, "a b 2\n", run(t, "", "sh", file, "a b", "c").out)
	// Without "#!" a shell runs it.
	require.Equal(t, "x 1\n", run(t, "", "sh", "-c", file+" x").out)
}

// asInit prepares a command as PID 1 of its own namespace.
func asInit(t *testing.T, argv ...string) *exec.Cmd {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: makes a PID namespace")
	}
	cmd := command(t, argv...)
	cmd.Env = append(cmd.Env, "KLAB_TEST_PROC=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// started starts cmd and waits until it has written that line.
func started(t *testing.T, cmd *exec.Cmd, line string) *bufio.Reader {
	t.Helper()
	pipe, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	out := bufio.NewReader(pipe)
	for {
		got, err := out.ReadString('\n')
		require.NoError(t, err)
		if strings.Contains(got, line) {
			return out
		}
	}
}

func TestInitEndsOnSIGTERM(t *testing.T) {
	for _, tc := range []struct {
		argv []string
		line string
		code int
	}{
		{[]string{"eatmem", "1Mi"}, "all of it", 143},
		{[]string{"sh", "-c", "echo up; sleep 1000"}, "up", 143},
		{[]string{"sh", "-c", "trap 'exit 9' TERM; echo up; while true; do sleep 0.01; done"}, "up", 9},
		{[]string{"sh", "-c", "echo up; exec burncpu"}, "burning", 143},
		{[]string{"httpd", "127.0.0.1:0"}, "serves on", 0},
	} {
		t.Run(tc.argv[0], func(t *testing.T) {
			cmd := asInit(t, tc.argv...)
			started(t, cmd, tc.line)
			require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
			cmd.Wait()
			require.Equal(t, tc.code, cmd.ProcessState.ExitCode())
		})
	}
}

func TestInitReapsOrphans(t *testing.T) {
	cmd := asInit(t, "sh", "-c", `sh -c 'sh -c "sleep 0.05" & exit'
echo orphaned; while ps | grep -q 'sleep 0.05$'; do sleep 0.02; done
i=0; while [ $i -lt 1000 ] && ps | grep -Eq '^ *[0-9]+ +[0-9]+ +[^ ]+ +Z'; do sleep 0.02; i=$((i+1)); done
ps | grep -Ec '^ *[0-9]+ +[0-9]+ +[^ ]+ +Z'; echo end`)
	out := started(t, cmd, "orphaned")
	line, err := out.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "0\n", line)
}
