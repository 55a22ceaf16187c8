package cluster

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/klab-project/klab/core/kubelet"
)

// UpOptions says what Up is to start. Zero values take what the cluster had,
// or the default.
type UpOptions struct {
	Nodes       int // default 3
	Port        int // of the API server on loopback; default a free one
	EtcdServers []string
	// RuntimeEndpoint and NoHistory: see Config; only for a cluster that is new.
	RuntimeEndpoint string
	NoHistory       bool
	DualStack       bool          // of a new cluster: both families of addresses
	KubeletArgs     []string      // what kubelets are told, as upstream's flags; none: as before
	With            []string      // optional add-ons that the cluster gets, from now on
	Without         []string      // add-ons that a new cluster does not get
	SigningDuration time.Duration // of certificates of nodes; 0: as before
	Wait            bool          // until all nodes are Ready
	WaitAddons      bool          // and a new cluster's add-ons too
	Self            string
}

// readyFD is where the daemon tells its starter how far it is.
const readyFD = 3

// The lines that a starting daemon says; anything else is its error.
const (
	sayServing = "serving"
	sayReady   = "ready"
	sayAddons  = "add-ons"
)

// Up starts the cluster's daemon and returns when its API server answers, or,
// with Wait, when all nodes are Ready, or, with WaitAddons, when the add-ons of
// a new cluster are, too. What an earlier run left goes on. After
// an error everything that Up itself made is gone.
func Up(ctx context.Context, d Dir, o UpOptions) error {
	if err := preflight(); err != nil {
		return err
	}
	if err := d.free(ctx); err != nil {
		return err
	}
	fresh := !d.Exists()
	c, err := d.choose(o)
	if err != nil {
		return err
	}
	if err := d.saveConfig(c); err != nil {
		return fmt.Errorf("write the cluster's configuration: %w", err)
	}
	err = d.startDaemon(ctx, o)
	if err == nil || errors.Is(err, errSlowNodes) || ctx.Err() != nil && !fresh {
		return err
	}
	if fresh {
		err = errors.Join(err, Sweep(context.WithoutCancel(ctx), d, false))
	}
	return explain(context.WithoutCancel(ctx), err)
}

// choose completes the configuration of a cluster that is new, or checks that
// what is asked for fits one that exists.
func (d Dir) choose(o UpOptions) (Config, error) {
	c, err := d.LoadConfig()
	fresh := errors.Is(err, fs.ErrNotExist)
	if err != nil && !fresh {
		return c, err
	}
	if fresh {
		c = Config{Nodes: 3, Began: time.Now(), Seed: rand.Uint64(), NoHistory: o.NoHistory, DualStack: o.DualStack, Without: o.Without, RuntimeEndpoint: o.RuntimeEndpoint}
	}
	c = c.asked(o.Nodes)
	if c.Nodes < 1 || c.Nodes > MaxNodes {
		return c, fmt.Errorf("a cluster has 1 to %d nodes, not %d", MaxNodes, c.Nodes)
	}
	if o.DualStack && !c.DualStack {
		return c, fmt.Errorf("the cluster %q has addresses of IPv4 alone, which its objects were made with; take it down (\"klab down\") and begin one with --dual-stack", d.Name)
	}
	if err := d.checkWithout(c, o); err != nil {
		return c, err
	}
	if err := c.withAddons(o.With); err != nil {
		return c, err
	}
	if err := c.checkRuntime(); err != nil {
		return c, err
	}
	if len(o.KubeletArgs) > 0 {
		c.KubeletArgs = o.KubeletArgs
	}
	if err := new(kubelet.Config).SetArgs(c.KubeletArgs); err != nil {
		return c, err
	}
	if o.SigningDuration != 0 && o.SigningDuration < shortestLife {
		return c, fmt.Errorf("certificates are good for at least %s, not %s: there must be time to replace them", shortestLife, o.SigningDuration)
	}
	c.SigningDuration = cmp.Or(o.SigningDuration, c.SigningDuration)
	if len(o.EtcdServers) > 0 {
		c.EtcdURL = o.EtcdServers
	}
	c.Port, err = choosePort(cmp.Or(o.Port, c.Port), o.Port == 0)
	return c, err
}

func (d Dir) startDaemon(ctx context.Context, o UpOptions) error {
	if err := os.MkdirAll(filepath.Dir(d.DaemonLog()), 0o755); err != nil {
		return err
	}
	log, err := os.OpenFile(d.DaemonLog(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	said, say, err := os.Pipe()
	if err != nil {
		return err
	}
	defer said.Close()
	cmd := exec.Command(cmp.Or(o.Self, "/proc/self/exe"), "daemon", d.Path)
	cmd.Args[0] = "klab"
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, []*os.File{say}
	cmd.Env = append(os.Environ(), dirEnv+"="+d.Path, roleEnv+"="+daemonRole)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Dir = "/"
	err = cmd.Start()
	say.Close()
	if err != nil {
		return err
	}
	heard := make(chan error, 1)
	go func() { heard <- listen(said, o.said()) }()
	select {
	case err = <-heard:
	case <-time.After(nodePatience):
		return d.slowNodes()
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return err
	}
	return cmd.Process.Release()
}

// nodePatience is how long Up waits for the nodes to be Ready. A busy emulated
// machine needs more than one minute.
const nodePatience = 3 * time.Minute

var errSlowNodes = errors.New("not all nodes are Ready")

func (d Dir) slowNodes() error {
	return fmt.Errorf("the cluster %q runs, but %w after %s: \"klab status\" says which, and %s has the reasons", d.Name, errSlowNodes, nodePatience, filepath.Dir(d.DaemonLog()))
}

// said is the line after which Up returns.
func (o UpOptions) said() string {
	switch {
	case o.WaitAddons:
		return sayAddons
	case o.Wait:
		return sayReady
	}
	return sayServing
}

// listen reads what a starting daemon says until it has said enough.
func listen(r io.Reader, enough string) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		switch line := lines.Text(); line {
		case enough:
			return nil
		case sayServing, sayReady, sayAddons:
		default:
			return errors.New(strings.TrimSpace(strings.ReplaceAll(line, "\x00", "\n")))
		}
	}
	return errors.New("the cluster's daemon ended while it was starting; its log says why")
}

// Down ends the cluster. With keep its state stays, and Up goes on with it.
// It is no error if the cluster does not exist.
func Down(ctx context.Context, d Dir, keep bool) error {
	if os.Geteuid() != 0 {
		return errors.New("taking a cluster down needs root: use sudo")
	}
	if pid := d.Daemon(); pid > 0 {
		if err := d.stopDaemon(ctx, pid); err != nil {
			return err
		}
	}
	return Sweep(ctx, d, keep)
}

// patience is how long a daemon may take to close its store.
const patience = 5 * time.Second

func (d Dir) stopDaemon(ctx context.Context, pid int) error {
	p, err := os.FindProcess(pid)
	if err != nil {
		return nil
	}
	_ = p.Signal(syscall.SIGTERM)
	deadline := time.Now().Add(patience)
	for d.Daemon() == pid && time.Now().Before(deadline) {
		time.Sleep(2 * time.Millisecond)
	}
	if d.Daemon() == pid {
		return killAndWait(ctx, pid)
	}
	return nil
}

// DownAll takes all clusters below a root down.
func DownAll(root string) error {
	dirs, err := List(root)
	for _, d := range dirs {
		err = errors.Join(err, Down(context.Background(), d, false))
	}
	return err
}
