package store

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"golang.org/x/sys/unix"
)

// EtcdConfig is how to run an etcd inside this process.
type EtcdConfig struct {
	Dir  string // holds everything below; made, for its owner alone, when it does not exist
	Name string // of the member, in its log; "klab" when empty
}

// The files in EtcdConfig.Dir. The socket is for etcdctl and other clients of
// the machine's root; the file next to it has its address, so that
// `etcdctl --endpoints "$(cat DIR/client)" get --prefix /registry/` works.
const (
	clientFile = "client"
	socketFile = "etcd.sock"
	lockFile   = "lock"
	logFile    = "etcd.log"
	dataDir    = "data"
)

const (
	// roomNeeded is what an etcd with small segments wants to write at once:
	// two segments of its log and the first pages of its database.
	roomNeeded = 24 << 20
	// segmentSize of the log is allocated in advance. etcd's own 64 MB cost
	// a third of a second at every start.
	segmentSize = 4e6
	// A single member elects itself after its election time, so that is short;
	// the tick is the longest that etcd takes with it, to wake up less.
	tick, election = 20, 100 // milliseconds
	// keptRevisions is how much history there is for watchers that come back;
	// older revisions are compacted away every five minutes.
	keptRevisions = "10000"
	// catchUp is how many entries of its log etcd has in memory for followers
	// that are slow. There are none; its default of 5000 would be objects.
	catchUp = 100
	// maxSocketPath is what the kernel takes, without the final zero.
	maxSocketPath = 107
)

// OpenEtcd starts an etcd on the data in cfg.Dir and waits until it is ready.
// Writes are on disk (fsync) before they are acknowledged. What makes etcd stop,
// such as a full disk, is the error of every later call.
func OpenEtcd(ctx context.Context, cfg EtcdConfig) (Store, error) {
	if cfg.Name == "" {
		cfg.Name = "klab"
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	cfg.Dir = dir
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open etcd: %w", noSpace(err))
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	s, err := openLocked(ctx, cfg)
	if err == nil {
		s.onClose = append(s.onClose, func() error {
			if s.failure.err() == nil {
				return unix.Close(lock)
			}
			return nil
		})
		return s, nil
	}
	err = fmt.Errorf("open etcd in %s: %w", cfg.Dir, noSpace(err))
	switch {
	case !errors.Is(err, errStopped):
		unix.Close(lock)
	case !errors.Is(err, ErrNoSpace):
		err = fmt.Errorf("%w: put a copy of %s back, or remove it to begin with an empty cluster", err, filepath.Join(cfg.Dir, dataDir))
	}
	return nil, err
}

// lockDir makes sure that nobody else has the data: etcd itself would wait for
// them without a word. The lock is a file descriptor. One that is not closed,
// because an etcd that stopped still has its files, ends with the process.
func lockDir(dir string) (int, error) {
	lock, err := unix.Open(filepath.Join(dir, lockFile), unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return 0, fmt.Errorf("open etcd: %w", noSpace(&os.PathError{Op: "open", Path: filepath.Join(dir, lockFile), Err: err}))
	}
	if err := unix.Flock(lock, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		unix.Close(lock)
		return 0, fmt.Errorf("open etcd: another process uses the data in %s: stop that cluster first, or use another directory (%w)", dir, err)
	}
	return lock, nil
}

// noSpace makes ErrNoSpace of any error that comes from a full disk.
func noSpace(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w (%w)", ErrNoSpace, err)
	}
	return err
}

var smallSegments sync.Once

func openLocked(ctx context.Context, cfg EtcdConfig) (*etcdStore, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(cfg.Dir, &fs); err == nil && fs.Bavail*uint64(fs.Bsize) < roomNeeded {
		return nil, fmt.Errorf("%w (%d MB are free, %d needed)", ErrNoSpace, fs.Bavail*uint64(fs.Bsize)>>20, roomNeeded>>20)
	}
	// The one knob that etcd has as a variable of a package only.
	smallSegments.Do(func() { wal.SegmentSizeBytes = segmentSize })
	failure := newFailure()
	log, err := openLog(filepath.Join(cfg.Dir, logFile), failure)
	if err != nil {
		return nil, err
	}
	server, err := start(ctx, cfg.embedded(log), failure)
	if err != nil {
		_ = log.Close()
		return nil, err
	}
	if err := cfg.writeClientFile(server); err != nil {
		server.Close()
		_ = log.Close()
		return nil, err
	}
	// A single member has every write that it acknowledged: it may answer reads
	// without asking for a round of consensus.
	s := newEtcdStore(v3client.New(server.Server), failure, true)
	s.onClose = append(s.onClose, func() error {
		if failure.err() == nil { // else it would wait for its goroutine that failed
			server.Close()
		}
		return os.RemoveAll(filepath.Join(cfg.Dir, clientFile))
	}, log.Close)
	return s, nil
}

// embedded is the configuration of a member that is alone and stays so.
func (cfg EtcdConfig) embedded(log *logger) *embed.Config {
	c := embed.NewConfig()
	c.Name, c.Dir = cfg.Name, filepath.Join(cfg.Dir, dataDir)
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(log.zap)
	c.TickMs, c.ElectionMs = tick, election
	c.AutoCompactionMode, c.AutoCompactionRetention = embed.CompactorModeRevision, keptRevisions
	c.SnapshotCatchUpEntries = catchUp
	c.EnableGRPCGateway = false
	// Nobody else is a member: there is a name for the address of this one, but
	// no listener.
	nowhere := url.URL{Scheme: "http", Host: "localhost:0"}
	c.ListenPeerUrls, c.AdvertisePeerUrls = nil, []url.URL{nowhere}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.ListenClientUrls, c.AdvertiseClientUrls = nil, []url.URL{nowhere}
	if socket := filepath.Join(cfg.Dir, socketFile); len(socket) <= maxSocketPath {
		u := url.URL{Scheme: "unix", Path: socket}
		c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{u}, []url.URL{u}
	}
	return c
}

// writeClientFile says where clients find the socket, if there is one.
func (cfg EtcdConfig) writeClientFile(server *embed.Etcd) error {
	urls := server.Config().ListenClientUrls
	if len(urls) == 0 {
		return nil
	}
	return os.WriteFile(filepath.Join(cfg.Dir, clientFile), []byte(urls[0].String()+"\n"), 0o600)
}

// start runs an etcd until it is ready. It does so in a goroutine that may
// never return: that is where etcd stays when it fails.
func start(ctx context.Context, c *embed.Config, failure *failure) (*embed.Etcd, error) {
	type result struct {
		server *embed.Etcd
		err    error
	}
	started := make(chan result, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil { // as it does when its log is damaged
				started <- result{nil, fmt.Errorf("%w: cannot read its data: %v", errStopped, p)}
			}
		}()
		server, err := embed.StartEtcd(c)
		started <- result{server, err}
	}()
	var server *embed.Etcd
	select {
	case r := <-started:
		if r.err != nil {
			return nil, r.err
		}
		server = r.server
	case <-failure.failed:
		return nil, failure.err()
	case <-ctx.Done():
		go func() {
			if late := <-started; late.server != nil {
				late.server.Close()
			}
		}()
		return nil, ctx.Err()
	}
	const patience = time.Minute
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-server.Server.ReadyNotify():
		return server, nil
	case <-failure.failed:
		return nil, failure.err()
	case err := <-server.Err():
		server.Close()
		return nil, err
	case <-ctx.Done():
		server.Close()
		return nil, ctx.Err()
	case <-late.C:
		server.Close()
		return nil, fmt.Errorf("not ready after %v: see %s", patience, logFile)
	}
}
