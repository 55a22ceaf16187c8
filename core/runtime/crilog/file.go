//go:build linux

package crilog

import (
	"os"
	"path/filepath"
	"sync"
)

// File is a container's log. Records are appended with one write each time.
type File struct {
	path string
	warn func(format string, args ...any)

	mu     sync.Mutex
	f      *os.File
	failed bool
}

// Open opens a log for appending, and makes it and its directory if need be.
// Without a path it discards. warn is told once when lines get lost, for each
// time that the disk is full.
func Open(path string, warn func(format string, args ...any)) (*File, error) {
	l := &File{path: path, warn: warn}
	if path == "" {
		return l, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	return l, l.Reopen()
}

// Reopen goes on in a new file, after the one so far was renamed.
func (l *File) Reopen() error {
	if l.path == "" {
		return nil
	}
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f != nil {
		l.f.Close()
	}
	l.f = f
	return nil
}

// write drops what cannot be written: a full disk must not stop a container.
func (l *File) write(records []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil || len(records) == 0 {
		return
	}
	_, err := l.f.Write(records)
	if err != nil && !l.failed {
		l.warn("log lines are lost: %v", err)
	}
	l.failed = err != nil
}

// place is the log's inode and size.
func (l *File) place() (inode uint64, size int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return 0, 0
	}
	return place(int(l.f.Fd()))
}

func (l *File) truncate(size int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f != nil {
		_ = l.f.Truncate(size)
	}
}

// Close may be repeated.
func (l *File) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f != nil {
		l.f.Close()
		l.f = nil
	}
}
