package overlay_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/overlay"
)

// A node's overlay runs in a process of its own in the node's namespace, as in
// a cluster: this test's program again, which takes orders from its standard
// input.

const agentEnv = "KLAB_TEST_OVERLAY_NODE"

// order is what an agent is told: a backend to use, if any, and all leases.
type order struct {
	Use    string
	Leases []overlay.Lease
}

// report is what it answers.
type report struct {
	Err       string
	Lease     overlay.Lease
	Conflicts []overlay.Conflict
	Steps     []string // the steps since the last report
	Counts    *overlay.Counts
}

func TestMain(m *testing.M) {
	if text := os.Getenv(agentEnv); text != "" {
		if err := runAgent(text, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func runAgent(text string, in io.Reader, out io.Writer) error {
	var node overlay.Node
	if err := json.Unmarshal([]byte(text), &node); err != nil {
		return err
	}
	own, err := link.Open("", link.By{Actor: "flannel", Node: node.Name})
	if err != nil {
		return err
	}
	defer own.Close()
	journal := step.NewJournal(1, 1<<16)
	ctx := step.With(context.Background(), step.NewLab(journal, step.NewClock(time.Now(), 0)))
	news := make(chan struct{}, 1)
	tell := func() {
		select {
		case news <- struct{}{}:
		default:
		}
	}
	m := overlay.NewManager(node, own, overlay.Steps(overlay.Kernel{Net: own}, "flannel", node.Name), tell)
	defer m.Close()
	var mu sync.Mutex
	var leases []overlay.Lease
	go func() {
		for range news {
			mu.Lock()
			if m.Type() != "" {
				_, _ = m.Sync(ctx, leases)
			}
			mu.Unlock()
		}
	}()
	go func() { _ = own.WatchLinks(ctx, func(string) { tell() }) }()
	seen := uint64(1)
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var o order
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return err
		}
		mu.Lock()
		var r report
		leases = o.Leases
		if o.Use != "" {
			err = m.Use(ctx, o.Use, "")
		}
		if m.Type() != "" {
			var failed error
			r.Conflicts, failed = m.Sync(ctx, leases)
			err = errors.Join(err, failed)
			r.Lease, r.Counts = m.Lease(), m.Counts()
		}
		mu.Unlock()
		if err != nil {
			r.Err, err = err.Error(), nil
		}
		if r.Steps, seen, err = stepsSince(ctx, journal, seen); err != nil {
			return err
		}
		if err := json.NewEncoder(out).Encode(r); err != nil {
			return err
		}
	}
	return lines.Err()
}

// stepsSince are the steps of a journal in short.
func stepsSince(ctx context.Context, j *step.Journal, from uint64) (list []string, next uint64, err error) {
	if j.Last() < from {
		return nil, from, nil
	}
	events, err := j.Next(ctx, from)
	for _, e := range events {
		if e.Phase != step.PhaseBegin {
			continue
		}
		var b step.BackendDetail
		var o step.OverlayDetail
		if e.Verb == step.BackendSet {
			err = errors.Join(err, e.Decode(&b))
			list = append(list, fmt.Sprintf("%s %s was=%s now=%s done=%t", e.Verb, b.Backend, b.Was, b.Now, b.Done))
		} else {
			err = errors.Join(err, e.Decode(&o))
			list = append(list, fmt.Sprintf("%s %s %s %s via %s", e.Verb, o.Backend, o.Peer, o.Subnet, o.Underly))
		}
	}
	return list, from + uint64(len(events)), err
}

// agent is the process of a node.
type agent struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startAgent(t testing.TB, path string, n overlay.Node) *agent {
	t.Helper()
	text, err := json.Marshal(n)
	require.NoError(t, err)
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	cmd.Env = append(os.Environ(), agentEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, netns.Do(path, cmd.Start))
	a := &agent{cmd, in, bufio.NewReader(out)}
	t.Cleanup(a.kill)
	return a
}

// kill ends it without a word.
func (a *agent) kill() {
	_ = a.cmd.Process.Kill()
	_ = a.cmd.Wait()
}

func (a *agent) do(t testing.TB, o order) report {
	t.Helper()
	text, err := json.Marshal(o)
	require.NoError(t, err)
	_, err = a.in.Write(append(text, '\n'))
	require.NoError(t, err)
	line, err := a.out.ReadBytes('\n')
	require.NoError(t, err)
	var r report
	require.NoError(t, json.Unmarshal(line, &r))
	return r
}
