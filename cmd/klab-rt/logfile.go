//go:build linux && cgo

package main

import (
	"os"
	"path/filepath"
	"sync"
)

// logFile is a container's log. Records are appended with one write each time.
type logFile struct {
	path string

	mu     sync.Mutex
	f      *os.File
	failed bool
}

// openLog opens the log for appending; without a path it discards.
func openLog(path string) (*logFile, error) {
	l := &logFile{path: path}
	if path == "" {
		return l, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	return l, l.reopen()
}

func (l *logFile) reopen() error {
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
func (l *logFile) write(records []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil || len(records) == 0 {
		return
	}
	_, err := l.f.Write(records)
	if err != nil && !l.failed {
		warn("log lines are lost: %v", err)
	}
	l.failed = err != nil
}

func (l *logFile) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f != nil {
		l.f.Close()
		l.f = nil
	}
}
