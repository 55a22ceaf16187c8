package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"k8s.io/client-go/rest"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/recording"
	"github.com/klab-project/klab/core/step/remote"
	"github.com/klab-project/klab/core/store"
	"github.com/klab-project/klab/netlab/fault"
	"github.com/klab-project/klab/netlab/topology"
)

// Parts are the programs and images that a daemon brings along.
type Parts struct {
	RT      func(path string) error // puts klab-rt at path
	Tools   []byte                  // the binary of klab.local/tools:1
	Self    string                  // klab itself, for agents
	Version string
}

// daemon is a running control plane.
type daemon struct {
	Dir
	cfg   Config
	parts Parts

	journal *step.Journal
	archive *recording.Archive
	lab     *step.Lab
	steps   *remote.Server
	pki     *authority
	store   store.Store
	net     *topology.Lab
	nodes   nodeList
	own     *rest.Config // the daemon's own client of the API
	book    *fault.Book

	hadAddons bool // in an earlier run

	work sync.WaitGroup // what ends with the daemon's context
}

// Serve is the daemon of the cluster at path, until it gets SIGTERM or SIGINT.
// What it has to say to its starter goes to file descriptor 3.
func Serve(path string, parts Parts) error {
	say := os.NewFile(readyFD, "ready")
	defer say.Close()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	err := serve(ctx, path, parts, say)
	if err != nil {
		slog.Error("daemon ended", "err", err)
		fmt.Fprintln(say, strings.ReplaceAll(err.Error(), "\n", "\x00"))
	}
	return err
}

func serve(ctx context.Context, path string, parts Parts, say io.Writer) error {
	dir, err := NewDir(filepath.Dir(path), filepath.Base(path))
	if err != nil {
		return err
	}
	lock, err := dir.lock()
	if err != nil {
		return err
	}
	defer lock.Close()
	d := &daemon{Dir: dir, parts: parts}
	if d.cfg, err = dir.LoadConfig(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer d.close()
	defer cancel(nil)
	if err := d.open(ctx); err != nil {
		return err
	}
	ctx = step.With(ctx, d.lab)
	client, err := d.start(ctx, cancel)
	if err != nil {
		return err
	}
	fmt.Fprintln(say, sayServing)
	if awaitNodes(ctx, client, d.nodesOn()) == nil && d.awaitKubelets(ctx) == nil {
		fmt.Fprintln(say, sayReady)
		d.awaitAddons(ctx, client)
		fmt.Fprintln(say, sayAddons)
	}
	<-ctx.Done()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// nodesOn is how many nodes are not turned off.
func (d *daemon) nodesOn() int {
	on := 0
	for _, n := range d.nodes.all() {
		if !d.isOff(n.name) {
			on++
		}
	}
	return on
}

// open opens what keeps the cluster's state, and builds its network. What an
// earlier daemon left running is ended, except for containers.
func (d *daemon) open(ctx context.Context) error {
	var g errgroup.Group
	g.Go(func() (err error) {
		if len(d.cfg.EtcdURL) > 0 {
			d.store, err = store.Dial(ctx, d.cfg.EtcdURL...)
		} else {
			d.store, err = store.OpenEtcd(ctx, store.EtcdConfig{Dir: d.etcd()})
		}
		return err
	})
	g.Go(func() error {
		if err := d.kill(ctx, func(role string) bool { return strings.HasPrefix(role, agentRole) }); err != nil {
			return err
		}
		return d.buildNetwork(ctx)
	})
	g.Go(func() (err error) {
		d.pki, err = openAuthority(d.Dir.pki())
		return err
	})
	g.Go(func() error { return d.openJournal() })
	return g.Wait()
}

// keepEvents is how many events the daemon has in memory; the archive on disk
// has them all.
const keepEvents = 4096

func (d *daemon) openJournal() error {
	began, used, at := d.cfg.Began, uint64(0), time.Duration(0)
	if d.cfg.NoHistory {
		d.journal = step.NewJournal(1, keepEvents)
	} else {
		var err error
		if used, at, err = d.openArchive(); err != nil {
			return err
		}
	}
	d.lab = step.NewLab(d.journal, step.NewClock(began, max(at, sinceNow(began))))
	config, err := json.Marshal(d.cfg)
	if err != nil {
		return err
	}
	d.steps = &remote.Server{
		Lab: d.lab, Journal: d.journal, Archive: d.archive, Allow: d.allow,
		Header: step.Header{Version: d.parts.Version, Cluster: d.Name, Began: began, Seed: d.cfg.Seed, Config: config},
		Keep:   d.keepIDs,
	}
	d.steps.Start(context.Background(), used)
	return nil
}

// usedIDs is the highest step id that an earlier run may have used, or 0.
func (d *daemon) usedIDs() uint64 {
	text, err := os.ReadFile(d.usedFile())
	if err != nil {
		return 0
	}
	used, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0
	}
	return used
}

func (d *daemon) keepIDs(used uint64) {
	if err := writeFile(d.usedFile(), fmt.Appendln(nil, used), 0o644); err != nil {
		slog.Error("step ids may be used again by the next run", "err", err)
	}
}

// openArchive opens the journal where the last run ended; used is the highest
// step id so far, and at the lab's time then: it may be ahead, and never goes
// back.
func (d *daemon) openArchive() (used uint64, at time.Duration, err error) {
	if d.archive, err = recording.OpenArchive(d.Dir.journal()); err != nil {
		return 0, 0, fmt.Errorf("open the journal: %w", err)
	}
	d.journal = step.NewJournal(d.archive.Last()+1, keepEvents)
	d.journal.Archived(d.archive.Last())
	from, err := d.archive.Recent()
	if err != nil {
		return 0, 0, fmt.Errorf("open the journal: %w", err)
	}
	if used = d.usedIDs(); used == 0 {
		from = 1
	}
	err = d.archive.Read(from, func(e *step.Event) error {
		used, at = max(used, e.Step), max(at, e.At.Duration())
		if e.Verb == step.Commit && e.Phase == step.PhaseFact {
			d.journal.Remember(e.RV, e.Step)
		}
		return nil
	})
	if err != nil {
		return 0, 0, fmt.Errorf("read the journal: %w", err)
	}
	d.work.Go(func() {
		if err := d.archive.Follow(context.Background(), d.journal); err != nil {
			slog.Error("the journal is no longer kept on disk", "err", err)
			d.journal.Archived(1<<63 - 1) // memory must not grow instead
		}
	})
	return used, at, nil
}

// close ends what the daemon's context has not ended.
func (d *daemon) close() {
	for _, n := range d.nodes.all() {
		n.work.Wait()
	}
	var errs []error
	if d.store != nil {
		errs = append(errs, d.store.Close())
	}
	if d.journal != nil {
		d.journal.Close()
		d.work.Wait()
	}
	if d.archive != nil {
		errs = append(errs, d.archive.Close())
	}
	if err := errors.Join(errs...); err != nil {
		slog.Error("close", "err", err)
	}
}
