package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// failure is the end of an etcd. etcd's way to end is to log a fatal message,
// which would end this process: here it becomes an error.
type failure struct {
	failed chan struct{}
	once   sync.Once
	cause  error
}

// errStopped is in every error of an etcd that ended by itself. Parts of it may
// still be there, with its files.
var errStopped = errors.New("etcd stopped")

func newFailure() *failure { return &failure{failed: make(chan struct{})} }

// err is what happened, or nil.
func (f *failure) err() error {
	select {
	case <-f.failed:
		return f.cause
	default:
		return nil
	}
}

// OnWrite is called by the logger after a fatal message, or one of a panic. The
// goroutine that sent it cannot go on, and must not be ended either, because
// others of etcd wait for it in ways that end the process: it stays.
func (f *failure) OnWrite(entry *zapcore.CheckedEntry, fields []zapcore.Field) {
	f.once.Do(func() {
		f.cause = fmt.Errorf("%w: %s", errStopped, entry.Message)
		for _, field := range fields {
			if err, ok := field.Interface.(error); ok && field.Type == zapcore.ErrorType {
				f.cause = fmt.Errorf("%w: %w", f.cause, noSpace(err))
			}
		}
		close(f.failed)
	})
	select {}
}

// context is one that ends, with the failure as its cause, when etcd does.
func (f *failure) context(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		select {
		case <-f.failed:
			cancel(f.cause)
		case <-done:
		}
	}()
	return ctx, sync.OnceFunc(func() {
		close(done)
		cancel(context.Canceled)
	})
}

// logger writes what etcd finds worth a warning into a file.
type logger struct {
	zap  *zap.Logger
	file *os.File
}

// maxLog is the size in bytes at which the log begins anew, at a start.
const maxLog = 4 << 20

func openLog(path string, failure *failure) (*logger, error) {
	flags := os.O_CREATE | os.O_WRONLY | os.O_APPEND
	if info, err := os.Stat(path); err == nil && info.Size() > maxLog {
		flags |= os.O_TRUNC
	}
	file, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, err
	}
	encoder := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
	core := zapcore.NewCore(encoder, zapcore.AddSync(file), zapcore.WarnLevel)
	// A log that cannot be written (the disk is full) is no reason to complain
	// on the terminal.
	quiet := zap.ErrorOutput(zapcore.AddSync(discard{}))
	return &logger{file: file, zap: zap.New(core, quiet, zap.WithFatalHook(failure), zap.WithPanicHook(failure))}, nil
}

// Close closes the file; what etcd still has to say is lost.
func (l *logger) Close() error {
	err := l.file.Close()
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
