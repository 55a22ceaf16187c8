//go:build linux

package crilog

import (
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Stream copies one FIFO, or a terminal, into a log and to those attached.
//
// A FIFO's data is looked at with tee(2), written to the log, and only then
// taken out; the part of a line that has no end yet stays in. So a process
// that is killed loses nothing: the next one finds it there, and in its
// [Pump] how far the last one came.
type Stream struct {
	Name     string // as the records have it: stdout or stderr
	From     *os.File
	Log      *File
	Pump     *Pump // of a FIFO
	Terminal bool  // no tee: what is read is gone

	seen int // bytes at the head of the FIFO that those attached have got

	mu    sync.Mutex
	sinks []*os.File
}

// Run copies until Stop is called or, with a terminal, until it hangs up.
func (s *Stream) Run() {
	if s.Terminal {
		s.runTerminal()
		return
	}
	conn, err := s.From.SyscallConn()
	if err != nil {
		return // it is closed
	}
	err = conn.Read(func(fd uintptr) bool {
		for s.look(int(fd), false) {
		}
		return false
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		_ = s.From.SetReadDeadline(time.Time{})
		_ = conn.Control(func(fd uintptr) {
			for s.look(int(fd), true) {
			}
		})
	}
}

// Stop makes Run take what is left and return. A terminal hangs up by itself
// when the container is gone.
func (s *Stream) Stop() {
	if s.Terminal {
		return
	}
	_ = s.From.SetReadDeadline(time.Unix(1, 0))
}

// look takes one look and says whether it took anything out.
func (s *Stream) look(fd int, final bool) bool {
	p := s.Pump
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
		s.Log.warn("%s: %v", s.Name, err)
	}
	if s.seen < len(data) {
		s.send(data[s.seen:])
	}
	var used int
	p.records, used = Append(p.records[:0], time.Now(), s.Name, data, final)
	if used > 0 {
		p.move(s, fd, data[:used])
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

func (s *Stream) runTerminal() {
	var held, records []byte
	buf := make([]byte, 4<<10)
	for {
		n, err := s.From.Read(buf)
		s.send(buf[:n])
		held = append(held, buf[:n]...)
		var used int
		records, used = Append(records[:0], time.Now(), s.Name, held, err != nil)
		s.Log.write(records)
		held = held[:copy(held, held[used:])]
		if err != nil {
			return
		}
	}
}

// Attach adds a reader; the returned function removes it.
func (s *Stream) Attach(to *os.File) func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sinks = append(s.sinks, to)
	return func() { s.detach(to) }
}

func (s *Stream) detach(to *os.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sinks = slices.DeleteFunc(s.sinks, func(f *os.File) bool { return f == to })
}

// send gives data to those attached; one that does not read for a second is
// dropped.
func (s *Stream) send(data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sinks = slices.DeleteFunc(s.sinks, func(to *os.File) bool {
		_ = to.SetWriteDeadline(time.Now().Add(time.Second))
		_, err := to.Write(data)
		return err != nil
	})
}
