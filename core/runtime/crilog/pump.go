//go:build linux

package crilog

import (
	"os"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Pump is what all streams of a process share. One of them uses it at a time:
// a look takes microseconds. It says in memory that outlives the process what
// is being moved; so the next process can finish that, and each byte comes
// into a log once, whenever a process is killed.
//
//   - One process at a time has the file.
//   - After its Open, Settle is called for each FIFO that was there before, and
//     then Begin. Streams that run already wait for that.
//   - A log that is rotated while no process is there, or that could not be
//     written, may get a line twice. A terminal has no such guarantee: what was
//     read of it is gone.
type Pump struct {
	mu      sync.Mutex
	r, w    int // of a pipe, for tee(2)
	data    []byte
	records []byte

	*pending
	taken []byte // where what is taken out of a FIFO goes; it outlives the process
}

// pending says what is about to be done: to append records to a log, and to
// take the bytes that they cover out of a FIFO. The fields mean something while
// busy is not 0.
type pending struct {
	busy   uint32
	bytes  uint32 // to be taken out of the FIFO
	fifo   uint64 // its inode
	log    uint64 // the log's
	before int64  // the log's size, in bytes
	after  int64
	first  byte // of those bytes
}

const pipeSize = 64 << 10

// OpenPump opens the file at path, and makes it if need be. Where that fails,
// warn is told, and a kill may repeat a line.
func OpenPump(path string, warn func(format string, args ...any)) (*Pump, error) {
	ends := make([]int, 2)
	if err := unix.Pipe2(ends, unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	page := os.Getpagesize()
	memory, err := mapFile(path, page+pipeSize)
	if err != nil {
		warn("what is being written to logs cannot be kept: %v; if klab-rt is killed, a line may come into a log twice", err)
		memory = make([]byte, page+pipeSize)
	}
	p := &Pump{
		r: ends[0], w: ends[1], data: make([]byte, pipeSize),
		pending: (*pending)(unsafe.Pointer(&memory[0])), taken: memory[page:],
	}
	p.mu.Lock()
	return p, nil
}

// Begin lets the streams go on.
func (p *Pump) Begin() {
	p.done()
	p.mu.Unlock()
}

// mapFile makes a file that is memory, too. Its blocks are there before, for a
// full disk would be a fault at a write to memory, and so are its pages: a fault
// in the middle of take would be where a kill interrupts it.
func mapFile(path string, size int) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	if err := unix.Fallocate(fd, 0, 0, int64(size)); err != nil {
		return nil, &os.PathError{Op: "fallocate", Path: path, Err: err}
	}
	memory, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, &os.PathError{Op: "mmap", Path: path, Err: err}
	}
	return memory, nil
}

// move appends p.records, which cover data, to the log, and takes data out of
// the FIFO. p.mu is held.
func (p *Pump) move(s *Stream, fd int, data []byte) {
	p.announce(s, fd, data)
	s.Log.write(p.records)
	p.take(fd, len(data))
	p.done()
}

func (p *Pump) announce(s *Stream, fd int, data []byte) {
	p.fifo, _ = place(fd)
	p.log, p.before = s.Log.place()
	p.after = p.before + int64(len(p.records))
	p.bytes, p.first = uint32(len(data)), data[0]
	p.taken[0] = ^p.first
	atomic.StoreUint32(&p.busy, 1)
}

// take reads what is there all at once, which nothing interrupts: the first
// byte in p.taken changes if and only if the FIFO has lost all of them.
func (p *Pump) take(fd, bytes int) { _, _ = readFull(fd, p.taken[:bytes]) }

func (p *Pump) done() { atomic.StoreUint32(&p.busy, 0) }

// Settle finishes what the last process was at, if it was at this stream.
func (p *Pump) Settle(s *Stream) {
	if s.Terminal || atomic.LoadUint32(&p.busy) == 0 {
		return
	}
	conn, err := s.From.SyscallConn()
	if err != nil {
		return // it is closed
	}
	_ = conn.Control(func(fd uintptr) {
		if fifo, _ := place(int(fd)); fifo != p.fifo {
			return
		}
		log, size := s.Log.place()
		switch {
		case p.taken[0] == p.first || log != p.log:
		case size == p.after:
			p.take(int(fd), int(p.bytes))
		case size > p.before && size < p.after:
			s.Log.truncate(p.before) // half a write; what it was to cover is still in the FIFO
		}
		p.done()
	})
}

// place is a file's inode and size.
func place(fd int) (inode uint64, size int64) {
	var st unix.Stat_t
	_ = unix.Fstat(fd, &st)
	return st.Ino, st.Size
}
