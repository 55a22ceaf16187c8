package main_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/cluster"
	"github.com/klab-project/klab/netlab/leak"
	"github.com/klab-project/klab/netlab/probe"
)

// bin is where "make" puts klab and kubectl.
func bin(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs("../../bin")
	require.NoError(t, err)
	for _, name := range []string{"klab", "kubectl"} {
		_, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err, "run \"make\" first: these tests are of the programs that it builds")
	}
	return dir
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: a cluster has namespaces and cgroups")
	}
}

// TestScripts runs the scripts in testdata. Each has the programs klab and
// kubectl, and may have clusters of its own: KLAB_ROOT is fresh, and whatever
// it holds in the end is taken down.
func TestScripts(t *testing.T) {
	needRoot(t)
	path := bin(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			root, err := leak.Dir("/var/tmp", "klab-t", cluster.DownAll)
			if err != nil {
				return err
			}
			name := strings.TrimPrefix(filepath.Base(root), "klab-")
			env.Setenv("KLAB_ROOT", root)
			env.Setenv("KLAB_CLUSTER", name)
			env.Setenv("KUBECONFIG", filepath.Join(root, name, "kubeconfig"))
			env.Setenv("PATH", path+":"+os.Getenv("PATH"))
			env.Setenv("HOME", env.WorkDir)
			env.Defer(func() { sweep(t, root) })
			return nil
		},
		Cmds:      map[string]func(*testscript.TestScript, bool, []string){"until": until, "pick": pick, "outside": outside, "certificate": certificate, "browse": browse},
		Condition: kernelHas,
	})
}

// kernelHas tells whether a feature that klab doctor knows works here.
func kernelHas(feature string) (bool, error) {
	for _, f := range probe.All(context.Background()) {
		if f.Name == feature {
			return f.OK, nil
		}
	}
	return false, fmt.Errorf("klab doctor knows no feature %q", feature)
}

// sweep takes down all clusters below root, and the root.
func sweep(t testing.TB, root string) {
	dirs, err := cluster.List(root)
	if err != nil {
		t.Error(err)
	}
	for _, d := range dirs {
		if t.Failed() {
			logs, _ := filepath.Glob(filepath.Join(filepath.Dir(d.DaemonLog()), "*"))
			for _, path := range logs {
				text, _ := os.ReadFile(path)
				t.Logf("%s:\n%s", filepath.Base(path), text)
			}
		}
	}
	if err := cluster.DownAll(root); err != nil {
		t.Error(err)
	}
	if err := os.RemoveAll(root); err != nil {
		t.Error(err)
	}
}

// pick picks the first pending action whose line matches: pick PATTERN ARGS...
func pick(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: pick PATTERN ARGS...")
	}
	until(ts, false, []string{args[0], "klab", "step", "pending"})
	ts.Check(ts.Exec("klab", "step", "pending"))
	pattern, err := regexp.Compile(args[0])
	ts.Check(err)
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		if pattern.MatchString(line) {
			ts.Check(ts.Exec("klab", append([]string{"step", "pick", strings.Fields(line)[0]}, args[1:]...)...))
			return
		}
	}
	ts.Fatalf("%q no longer waits", args[0])
}

// patience is how long until waits.
const patience = 2 * time.Minute

// program is where a script finds a program: those that "make" builds first.
func program(ts *testscript.TestScript, name string) string {
	built := filepath.Join(strings.Split(ts.Getenv("PATH"), ":")[0], name)
	if _, err := os.Stat(built); err == nil {
		return built
	}
	return name
}

// until runs a command until its output matches: until PATTERN COMMAND ARGS...
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until PATTERN COMMAND ARGS...")
	}
	pattern, err := regexp.Compile(args[0])
	ts.Check(err)
	var out []byte
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var stdout, stderr bytes.Buffer
		cmd := exec.Command(program(ts, args[1]), args[2:]...)
		cmd.Dir, cmd.Stdout, cmd.Stderr = ts.Getenv("WORK"), &stdout, &stderr
		for _, name := range []string{"KLAB_ROOT", "KLAB_CLUSTER", "KUBECONFIG", "PATH", "HOME"} {
			cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
		}
		_ = cmd.Run()
		out = append(stdout.Bytes(), stderr.Bytes()...)
		if pattern.Match(out) {
			return
		}
	}
	ts.Fatalf("%s did not print %q; the last output was:\n%s", strings.Join(args[1:], " "), args[0], fmt.Sprint(string(out)))
}
