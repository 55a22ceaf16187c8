//go:build linux

package crilog

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// fifoAndLog is where a container writes, and where its log goes.
type fifoAndLog struct {
	t         *testing.T
	dir       string
	container *os.File
}

func newFIFO(t *testing.T) *fifoAndLog {
	l := &fifoAndLog{t: t, dir: t.TempDir()}
	require.NoError(t, unix.Mkfifo(filepath.Join(l.dir, "out"), 0o600))
	var err error
	l.container, err = os.OpenFile(filepath.Join(l.dir, "out"), os.O_RDWR, 0) // as containers have it
	require.NoError(t, err)
	t.Cleanup(func() { l.container.Close() })
	return l
}

// process is what a process has that begins now: the last one is not asked.
func (l *fifoAndLog) process() *Stream {
	warn := func(format string, args ...any) { l.t.Errorf(format, args...) }
	pump, err := OpenPump(filepath.Join(l.dir, "pending"), warn)
	require.NoError(l.t, err)
	log, err := Open(filepath.Join(l.dir, "logs", "0.log"), warn)
	require.NoError(l.t, err)
	fd, err := unix.Open(filepath.Join(l.dir, "out"), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	require.NoError(l.t, err)
	return &Stream{Name: "stdout", From: os.NewFile(uintptr(fd), "out"), Log: log, Pump: pump}
}

func (l *fifoAndLog) says(text string) {
	_, err := l.container.WriteString(text)
	require.NoError(l.t, err)
}

func (l *fifoAndLog) lines() (lines []string) {
	data, err := os.ReadFile(filepath.Join(l.dir, "logs", "0.log"))
	require.NoError(l.t, err)
	for line := range strings.Lines(string(data)) {
		_, rest, ok := strings.Cut(line, " ")
		require.True(l.t, ok)
		lines = append(lines, strings.TrimPrefix(rest, "stdout "))
	}
	return lines
}

// copyAll takes what is in the FIFO.
func (s *Stream) copyAll() {
	s.Stop()
	s.Run()
}

// A process is killed at each point of moving two of three equal lines.
func TestEachByteOnce(t *testing.T) {
	dies := map[string]func(s *Stream, fd int, data []byte){
		"before": func(*Stream, int, []byte) {},
		"when it has announced": func(s *Stream, fd int, data []byte) {
			s.Pump.announce(s, fd, data)
		},
		"in the middle of a write": func(s *Stream, fd int, data []byte) {
			s.Pump.announce(s, fd, data)
			s.Log.write(s.Pump.records[:len(s.Pump.records)-4])
		},
		"when it has written": func(s *Stream, fd int, data []byte) {
			s.Pump.announce(s, fd, data)
			s.Log.write(s.Pump.records)
		},
		"when it has taken": func(s *Stream, fd int, data []byte) {
			s.Pump.announce(s, fd, data)
			s.Log.write(s.Pump.records)
			s.Pump.take(fd, len(data))
		},
		"after": func(s *Stream, fd int, data []byte) {
			s.Pump.move(s, fd, data)
		},
	}
	for name, die := range dies {
		t.Run(name, func(t *testing.T) {
			l := newFIFO(t)
			s := l.process()
			s.Pump.Begin()
			l.says("first\n")
			s.copyAll()
			l.says("again\nagain\nagain\nrest")
			two := []byte("again\nagain\n")
			s.Pump.records, _ = Append(nil, time.Now(), s.Name, two, false)
			conn, err := s.From.SyscallConn()
			require.NoError(t, err)
			require.NoError(t, conn.Control(func(fd uintptr) { die(s, int(fd), two) }))

			s = l.process()
			s.Pump.Settle(s)
			s.Pump.Begin()
			s.copyAll()
			require.Equal(t, []string{"F first\n", "F again\n", "F again\n", "F again\n", "P rest\n"}, l.lines())
		})
	}
}

// What was pending at one FIFO is no business of another.
func TestPendingOfAnother(t *testing.T) {
	l := newFIFO(t)
	s := l.process()
	s.Pump.Begin()
	l.says("mine\n")
	s.Pump.records, _ = Append(nil, time.Now(), s.Name, []byte("mine\n"), false)
	conn, err := s.From.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, conn.Control(func(fd uintptr) { s.Pump.announce(s, int(fd), []byte("mine\n")) }))
	s.Log.write(s.Pump.records)

	other := newFIFO(t)
	other.says("theirs\n")
	theirs := other.process()
	theirs.Pump = l.process().Pump
	theirs.Pump.Settle(theirs)
	s = l.process()
	s.Pump.Settle(s)
	s.Pump.Begin()
	theirs.Pump.Begin()
	s.copyAll()
	theirs.copyAll()
	require.Equal(t, []string{"F mine\n"}, l.lines())
	require.Equal(t, []string{"F theirs\n"}, other.lines())
}

// A log that was rotated while nobody was there is a new one.
func TestRotatedMeanwhile(t *testing.T) {
	l := newFIFO(t)
	s := l.process()
	s.Pump.Begin()
	l.says("one\n")
	s.Pump.records, _ = Append(nil, time.Now(), s.Name, []byte("one\n"), false)
	conn, err := s.From.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, conn.Control(func(fd uintptr) { s.Pump.announce(s, int(fd), []byte("one\n")) }))
	log := filepath.Join(l.dir, "logs", "0.log")
	require.NoError(t, os.Rename(log, log+".old"))

	s = l.process()
	s.Pump.Settle(s)
	s.Pump.Begin()
	s.copyAll()
	require.Equal(t, []string{"F one\n"}, l.lines())
}
