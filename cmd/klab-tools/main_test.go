package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestMain lets the test binary be klab-tools when it is called by the name of
// one of its commands.
func TestMain(m *testing.M) {
	name := filepath.Base(os.Args[0])
	if appletNamed(name) != nil {
		if os.Getenv("KLAB_TEST_PROC") != "" {
			mountProc()
		}
		os.Exit(dispatch(os.Args))
	}
	os.Exit(m.Run())
}

// mountProc gives a new PID namespace its own /proc, in a new mount namespace.
func mountProc() {
	err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, "")
	if err == nil {
		err = unix.Mount("proc", "/proc", "proc", 0, "")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mount /proc:", err)
		os.Exit(99)
	}
}

// command prepares a run of an applet in a process of its own.
func command(t *testing.T, argv ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Args = argv
	cmd.Dir = t.TempDir()
	// No links to the applets in PATH: the shell must find them by itself.
	cmd.Env = []string{"PATH=/nowhere", "HOME=/"}
	return cmd
}

// result is what a command said and how it ended.
type result struct {
	out, err string
	code     int
}

func run(t *testing.T, input string, argv ...string) result {
	t.Helper()
	cmd := command(t, argv...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &errs
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

func TestApplets(t *testing.T) {
	for _, tc := range []struct {
		argv  []string
		input string
		out   string
		code  int
	}{
		{argv: []string{"true"}},
		{argv: []string{"false"}, code: 1},
		{argv: []string{"exit", "3"}, code: 3},
		{argv: []string{"exit", "x"}, code: 2},
		{argv: []string{"sleep", "0.01"}},
		{argv: []string{"sleep", "soon"}, code: 2},
		{argv: []string{"echo", "-n", "a", "b"}, out: "a b"},
		{argv: []string{"seq", "2", "4"}, out: "2\n3\n4\n"},
		{argv: []string{"seq", "4", "-2", "1"}, out: "4\n2\n"},
		{argv: []string{"head", "-2"}, input: "a\nb\nc\n", out: "a\nb\n"},
		{argv: []string{"head", "-c", "3"}, input: "abcdef", out: "abc"},
		{argv: []string{"tail", "-n1"}, input: "a\nb\nc", out: "c\n"},
		{argv: []string{"tail", "-n", "+2"}, input: "a\nb\nc\n", out: "b\nc\n"},
		{argv: []string{"grep", "-in", "B."}, input: "a\nbc\n", out: "2:bc\n"},
		{argv: []string{"grep", "-q", "x"}, input: "a\n", code: 1},
		{argv: []string{"grep", "-o", "[0-9]+"}, input: "a12b3\n", out: "12\n3\n"},
		{argv: []string{"grep", "("}, code: 2},
		{argv: []string{"wc", "-l"}, input: "a\nb\n", out: "2\n"},
		{argv: []string{"sort", "-rn"}, input: "2\n10\n1\n", out: "10\n2\n1\n"},
		{argv: []string{"uniq", "-c"}, input: "a\na\nb\n", out: "      2 a\n      1 b\n"},
		{argv: []string{"cut", "-d:", "-f", "1,3"}, input: "a:b:c\n", out: "a:c\n"},
		{argv: []string{"cat"}, input: "as it is", out: "as it is"},
		{argv: []string{"tee"}, input: "through", out: "through"},
		{argv: []string{"test", "1", "-lt", "2"}},
		{argv: []string{"[", "-e", "/nowhere", "]"}, code: 1},
		{argv: []string{"printf", "%03d\\n", "7"}, out: "007\n"},
		{argv: []string{"env", "-i", "A=1"}, out: "A=1\n"},
		{argv: []string{"printenv", "HOME"}, out: "/\n"},
		{argv: []string{"printenv", "NONE"}, code: 1},
		{argv: []string{"date", "-u", "-d", "@0", "+%Y-%m-%d %H:%M:%S %s"}, out: "1970-01-01 00:00:00 0\n"},
		{argv: []string{"kill", "-WAT", "1"}, code: 2},
		{argv: []string{"kill", "0x1"}, code: 2},
		{argv: []string{"burncpu", "1", "0.01"}, out: "burning 1 CPU(s)\n"},
		{argv: []string{"ip", "addr", "add"}, code: 2},
	} {
		t.Run(strings.Join(tc.argv, " "), func(t *testing.T) {
			r := run(t, tc.input, tc.argv...)
			require.Equal(t, tc.code, r.code, r.err)
			require.Equal(t, tc.out, r.out)
			if tc.code == 2 {
				require.Contains(t, r.err, "usage: "+tc.argv[0])
			}
		})
	}
}

func TestFilesAndSystem(t *testing.T) {
	r := run(t, "", "sh", "-c", `mkdir -p d; echo hello >d/f; ls d; ln -s f d/l; readlink d/l; stat d/f; cp d/f g; mv g h
cat h; rm h; test -e h || echo gone; id -u; uname -s; pwd; mount; df / | wc -l; ps; ip addr; ip route; ip neigh; netstat; hostname; shasum d/f`)
	require.Equal(t, 0, r.code, r.err)
	for _, want := range []string{"f\nf\n", "Size: 6 ", "hello\n", "gone\n", "Linux\n", "\n2\n", "COMMAND\n", "inet 127.0.0.1/8", "Proto"} {
		require.Contains(t, r.out, want)
	}
}

func TestUnknownCommandAndList(t *testing.T) {
	require.Equal(t, 127, run(t, "", "sh", "-c", "nosuch").code)
	require.Equal(t, 127, dispatch([]string{"klab-tools", "nosuch"}))
	for _, a := range applets() {
		require.NotNil(t, a.run, a.name)
	}
}

func TestEatmemTouchesItsPages(t *testing.T) {
	cmd := command(t, "eatmem", "32Mi", "16Mi")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	var text string
	buf := make([]byte, 256)
	for !strings.Contains(text, "all of it") {
		n, err := out.Read(buf)
		require.NoError(t, err)
		text += string(buf[:n])
	}
	p, ok := readProcess(fmt.Sprintf("/proc/%d", cmd.Process.Pid), cmd.Process.Pid)
	require.True(t, ok)
	require.Greater(t, p.rss, int64(32<<20))
	require.Equal(t, 2, run(t, "", "eatmem", "lots").code)
}

func TestParse(t *testing.T) {
	o, rest, err := parse("a b n= type=", []string{"-ab", "-n5", "--type=SRV", "x", "-a"})
	require.NoError(t, err)
	require.Equal(t, options{"a": "", "b": "", "n": "5", "type": "SRV"}, o)
	require.Equal(t, []string{"x", "-a"}, rest)
	_, _, err = parse("a", []string{"-z"})
	require.ErrorContains(t, err, "-z")
	_, _, err = parse("n=", []string{"-n"})
	require.ErrorContains(t, err, "needs a value")
}

func TestNodeName(t *testing.T) {
	require.Equal(t, "node-2", nodeName("25 30 0:23 / /sys rw - sysfs sysfs rw\n"+
		"31 30 254:0 /var/lib/klab/lab/nodes/node-2/kubelet/pods/u/etc/hosts /etc/hosts rw - ext4 /dev/vda rw\n"))
	require.Empty(t, nodeName("31 30 254:0 /etc/hosts /etc/hosts rw - ext4 /dev/vda rw\n"))
}
