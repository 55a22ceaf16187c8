package cni

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/klab-project/klab/netlab/netns"
)

// Program is a plugin that is a program of its own. It gets the environment and
// the standard input that the specification says.
type Program struct {
	Path  string
	NetNS string // where it runs; empty: where the process is
	// Limit is how long it may take; 0 means DefaultLimit. One that takes
	// longer is killed, and so are its children.
	Limit time.Duration
}

// DefaultLimit is how long a program may take.
const DefaultLimit = 15 * time.Second

// maxOutput is how much of a program's output is read, and maxQuoted how much
// of it an error quotes.
const (
	maxOutput = 1 << 20
	maxQuoted = 400
)

// Failed is the error of a program: what it said, and what it complained of.
type Failed struct {
	Err    *types.Error
	Stdout string // if it is not what the specification wants
	Stderr string
}

func (f *Failed) Error() string { return f.Err.Error() }

// Unwrap makes Failed the specification's error.
func (f *Failed) Unwrap() error { return f.Err }

// Add implements [Plugin].
func (p *Program) Add(ctx context.Context, c Call) (*Result, error) {
	out, err := p.run(ctx, add, c)
	if err != nil {
		return nil, err
	}
	var conf netConf
	if err := json.Unmarshal(c.Config, &conf); err != nil {
		return nil, err
	}
	r, err := result(conf.CNIVersion, out)
	if err != nil {
		err = types.NewError(types.ErrDecodingFailure, fmt.Sprintf("%s: %v: it printed %q", filepath.Base(p.Path), err, some(out)), "")
		return nil, &Failed{Err: AsError(err), Stdout: some(out)}
	}
	return r, nil
}

// Del implements [Plugin].
func (p *Program) Del(ctx context.Context, c Call) error { return p.only(ctx, del, c) }

// Check implements [Plugin].
func (p *Program) Check(ctx context.Context, c Call) error { return p.only(ctx, check, c) }

// Status implements [Plugin].
func (p *Program) Status(ctx context.Context, c Call) error { return p.only(ctx, status, c) }

// GC implements [Plugin].
func (p *Program) GC(ctx context.Context, c Call) error { return p.only(ctx, gc, c) }

func (p *Program) only(ctx context.Context, command string, c Call) error {
	_, err := p.run(ctx, command, c)
	return err
}

// Versions asks the program which versions of the specification it has.
func (p *Program) Versions(ctx context.Context) ([]string, error) {
	c := Call{Config: json.RawMessage(fmt.Sprintf(`{"cniVersion":%q}`, version.Current()))}
	// As libcni has it: some plugins want all of the environment.
	c.ContainerID, c.NetNS, c.IfName = "dummy", "dummy", "dummy"
	ctx, cancel := context.WithTimeoutCause(ctx, p.limit()/3, fmt.Errorf("plugin %s did not say its versions", p.Path))
	defer cancel()
	out, err := p.run(ctx, "VERSION", c)
	if err != nil {
		return nil, err
	}
	info, err := (&version.PluginDecoder{}).Decode(out)
	if err != nil {
		return nil, err
	}
	return info.SupportedVersions(), nil
}

func (p *Program) limit() time.Duration {
	if p.Limit > 0 {
		return p.Limit
	}
	return DefaultLimit
}

// run carries out one call. The program dies with the thread that started it,
// so the thread stays until it has ended: a caller that is killed leaves no
// plugin behind that would go on.
func (p *Program) run(ctx context.Context, command string, c Call) ([]byte, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	limited, cancel := context.WithTimeout(ctx, p.limit())
	defer cancel()
	cmd := exec.CommandContext(limited, p.Path)
	stdout, stderr := &head{max: maxOutput}, &head{max: maxOutput}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(c.Config), stdout, stderr
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "CNI_") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Env = append(cmd.Env, c.Env(command)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second // a child in another group that keeps the pipes open
	start := cmd.Run
	if p.NetNS != "" {
		start = func() error { return netns.Do(p.NetNS, cmd.Run) }
	}
	err := start()
	if err == nil {
		return stdout.Bytes(), nil
	}
	f := &Failed{Stderr: some(stderr.Bytes()), Err: &types.Error{Code: types.ErrInternal}}
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case limited.Err() != nil:
		f.Err.Code = types.ErrTryAgainLater
		f.Err.Msg = fmt.Sprintf("plugin %s did not answer %s within %s: it was killed, and its children", p.Path, command, p.limit())
	default:
		f.explain(err, stdout.Bytes())
	}
	return nil, f
}

// explain finds the error that a program printed; for one that printed none it
// has upstream's words.
func (f *Failed) explain(err error, stdout []byte) {
	var exit *exec.ExitError
	switch {
	case !errors.As(err, &exit):
		f.Err.Msg = err.Error()
	case len(stdout) == 0 && f.Stderr == "":
		f.Err.Msg = fmt.Sprintf("netplugin failed with no error message: %v", err)
	case len(stdout) == 0:
		f.Err.Msg = fmt.Sprintf("netplugin failed: %q", f.Stderr)
	default:
		var said types.Error
		if bad := json.Unmarshal(stdout, &said); bad != nil {
			f.Stdout = some(stdout)
			f.Err.Msg = fmt.Sprintf("netplugin failed but error parsing its diagnostic message %q: %v", f.Stdout, bad)
			return
		}
		f.Err = &said
	}
}

// some is the beginning of a text that may be long.
func some(text []byte) string {
	s := strings.TrimSpace(string(text))
	if len(s) > maxQuoted {
		s = s[:maxQuoted] + "…"
	}
	return s
}

// head keeps the beginning of what is written.
type head struct {
	bytes.Buffer
	max int
}

func (h *head) Write(b []byte) (int, error) {
	if room := h.max - h.Len(); room < len(b) {
		h.Buffer.Write(b[:max(room, 0)])
		return len(b), nil
	}
	return h.Buffer.Write(b)
}
