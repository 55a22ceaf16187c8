//go:build linux && cgo

package main

import (
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/core/runtime/crilog"
)

// stream copies one FIFO, or a terminal, into the log and to those attached.
//
// A FIFO's data is looked at with tee(2), written to the log, and only then
// taken out; the part of a line that has no end yet stays in. So a klab-rt
// that is killed loses nothing: the next one finds it there. At worst it
// writes once more what its predecessor had just written.
type stream struct {
	name     string
	fifo     *os.File
	log      *logFile
	terminal bool // no tee: what is read is gone

	seen int // bytes at the head of the FIFO that those attached have got

	mu    sync.Mutex
	sinks []*os.File
}

// scratch is shared by all streams: a look takes microseconds.
type scratch struct {
	mu      sync.Mutex
	r, w    int
	data    []byte
	records []byte
}

const pipeSize = 64 << 10

func newScratch() (*scratch, error) {
	p := make([]int, 2)
	if err := unix.Pipe2(p, unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, err
	}
	return &scratch{r: p[0], w: p[1], data: make([]byte, pipeSize)}, nil
}

var pad = sync.OnceValues(newScratch)

// run copies until stop is called or, with a terminal, until it hangs up.
func (s *stream) run() {
	conn, err := s.fifo.SyscallConn()
	if err != nil {
		warn("%s: %v", s.name, err)
		return
	}
	if s.terminal {
		s.runTerminal()
		return
	}
	err = conn.Read(func(fd uintptr) bool {
		for s.pump(int(fd), false) {
		}
		return false
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		_ = s.fifo.SetReadDeadline(time.Time{})
		_ = conn.Control(func(fd uintptr) {
			for s.pump(int(fd), true) {
			}
		})
	}
}

// stop makes run take what is left and return.
func (s *stream) stop() {
	if s.terminal {
		return // it hangs up by itself when the container is gone
	}
	_ = s.fifo.SetReadDeadline(time.Unix(1, 0))
}

func (s *stream) close() { s.fifo.Close() }

// pump takes one look and says whether it took anything out.
func (s *stream) pump(fd int, final bool) bool {
	p, err := pad()
	if err != nil {
		warn("%s: %v", s.name, err)
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	n, err := unix.Tee(fd, p.w, pipeSize, unix.SPLICE_F_NONBLOCK)
	if errors.Is(err, unix.EINTR) {
		return true
	}
	if err != nil || n == 0 {
		return false
	}
	data, err := readFull(p.r, p.data[:n])
	if err != nil {
		warn("%s: %v", s.name, err)
	}
	if s.seen < len(data) {
		s.send(data[s.seen:])
	}
	var used int
	p.records, used = crilog.Append(p.records[:0], time.Now(), s.name, data, final)
	s.log.write(p.records)
	if used > 0 {
		_, _ = readFull(fd, p.data[:used])
	}
	s.seen = len(data) - used
	return used > 0
}

func readFull(fd int, data []byte) ([]byte, error) {
	have := 0
	for have < len(data) {
		n, err := unix.Read(fd, data[have:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return data[:have], err
		}
		have += n
	}
	return data, nil
}

func (s *stream) runTerminal() {
	var held, records []byte
	buf := make([]byte, 4<<10)
	for {
		n, err := s.fifo.Read(buf)
		s.send(buf[:n])
		held = append(held, buf[:n]...)
		var used int
		records, used = crilog.Append(records[:0], time.Now(), s.name, held, err != nil)
		s.log.write(records)
		held = held[:copy(held, held[used:])]
		if err != nil {
			return
		}
	}
}

// attach adds a reader; the returned function removes it.
func (s *stream) attach(to *os.File) func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sinks = append(s.sinks, to)
	return func() { s.detach(to) }
}

func (s *stream) detach(to *os.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sinks = slices.DeleteFunc(s.sinks, func(f *os.File) bool { return f == to })
}

// send gives data to those attached; one that does not read for a second is
// dropped.
func (s *stream) send(data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sinks = slices.DeleteFunc(s.sinks, func(to *os.File) bool {
		_ = to.SetWriteDeadline(time.Now().Add(time.Second))
		_, err := to.Write(data)
		return err != nil
	})
}
