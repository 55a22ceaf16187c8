package recording

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/klab-project/klab/core/step"
)

// segmentBytes is the size at which a segment of the archive is compressed.
const segmentBytes = 8 << 20

// Archive is a directory with all events of a lab, in segments named after
// their first event: the newest as plain JSON lines, the older ones
// compressed.
type Archive struct {
	dir string

	mu      sync.Mutex // held while segments change
	file    *os.File
	size    int64
	last    uint64
	packing sync.WaitGroup
}

// OpenArchive opens or creates an archive. A line that a crash cut in half is
// removed.
func OpenArchive(dir string) (*Archive, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	a := &Archive{dir: dir}
	segments, err := a.segments()
	if err != nil {
		return nil, err
	}
	for i, s := range segments {
		if i == len(segments)-1 && !s.packed {
			return a, a.resume(s)
		}
		if s.packed {
			continue
		}
		if err := pack(s.path); err != nil {
			return nil, err
		}
	}
	if n := len(segments); n > 0 {
		err = a.scan(segments[n-1], func(e *step.Event) error { a.last = e.Seq; return nil })
	}
	return a, err
}

// Last is the number of the newest event in the archive, or 0.
func (a *Archive) Last() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

func (a *Archive) resume(s segment) error {
	data, err := os.ReadFile(s.path)
	if err != nil {
		return err
	}
	whole := data[:bytes.LastIndexByte(data, '\n')+1]
	a.last = s.first - 1
	for line := range bytes.Lines(whole) {
		var e struct {
			Seq uint64 `json:"seq"`
		}
		if json.Unmarshal(line, &e) != nil || e.Seq != a.last+1 {
			return fmt.Errorf("%s: event %d is damaged: remove the file to go on without it", s.path, a.last+1)
		}
		a.last = e.Seq
	}
	if err := os.Truncate(s.path, int64(len(whole))); err != nil {
		return err
	}
	a.size = int64(len(whole))
	a.file, err = os.OpenFile(s.path, os.O_WRONLY|os.O_APPEND, 0o644)
	return err
}

// Follow copies the journal into the archive until ctx ends or the journal is
// closed; then it has everything.
func (a *Archive) Follow(ctx context.Context, j *step.Journal) error {
	j.Archived(a.Last())
	for {
		events, err := j.Next(ctx, a.Last()+1)
		if errors.Is(err, step.ErrClosed) || ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if err := a.append(events); err != nil {
			return fmt.Errorf("write the journal: %w", err)
		}
		j.Archived(a.Last())
	}
}

func (a *Archive) append(events []*step.Event) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	for _, e := range events {
		if err := enc.Encode(e); err != nil {
			return err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.file != nil && a.size > segmentBytes {
		full := a.file.Name()
		if err := a.file.Close(); err != nil {
			return err
		}
		a.file = nil
		a.packing.Go(func() { _ = pack(full) }) // what stays plain is packed at the next start
	}
	if a.file == nil {
		name := filepath.Join(a.dir, fmt.Sprintf("%012d.jsonl", a.last+1))
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
		if err != nil {
			return err
		}
		a.file, a.size = f, 0
	}
	n, err := a.file.Write(buf.Bytes())
	if err != nil {
		// Half a line would hide everything after it.
		return errors.Join(err, a.file.Truncate(a.size))
	}
	a.size += int64(n)
	a.last = events[len(events)-1].Seq
	return nil
}

// Recent is the number of an event from which on the archive has the newest
// 8 MB of events, and some more: enough to know what led to what happens now.
func (a *Archive) Recent() (uint64, error) {
	segments, err := a.segments()
	if err != nil || len(segments) < 2 {
		return 1, err
	}
	return segments[len(segments)-2].first, nil
}

// Read calls f with the events from number from on that are in the archive,
// in order. An error of f ends it and is returned.
func (a *Archive) Read(from uint64, f func(*step.Event) error) error {
	segments, err := a.segments()
	if err != nil {
		return err
	}
	for i, s := range segments {
		if i+1 < len(segments) && segments[i+1].first <= from {
			continue
		}
		err := a.scan(s, func(e *step.Event) error {
			if e.Seq < from {
				return nil
			}
			from = e.Seq + 1
			return f(e)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Close waits for what is under way and closes the files.
func (a *Archive) Close() error {
	a.packing.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.file == nil {
		return nil
	}
	return a.file.Close()
}

type segment struct {
	path   string
	first  uint64
	packed bool
}

// segments lists the archive's files in order; where packing was interrupted
// the plain file counts.
func (a *Archive) segments() ([]segment, error) {
	entries, err := os.ReadDir(a.dir)
	if err != nil {
		return nil, err
	}
	byFirst := map[uint64]segment{}
	for _, e := range entries {
		var s segment
		if n, _ := fmt.Sscanf(e.Name(), "%d.jsonl", &s.first); n != 1 || strings.HasSuffix(e.Name(), ".tmp") {
			continue
		}
		s.path, s.packed = filepath.Join(a.dir, e.Name()), strings.HasSuffix(e.Name(), ".zst")
		if old, ok := byFirst[s.first]; !ok || old.packed {
			byFirst[s.first] = s
		}
	}
	var list []segment
	for _, s := range byFirst {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b segment) int { return int(a.first) - int(b.first) })
	return list, nil
}

func (a *Archive) scan(s segment, f func(*step.Event) error) error {
	file, err := os.Open(s.path)
	if errors.Is(err, os.ErrNotExist) && !s.packed { // packed in the meantime
		s.path, s.packed = s.path+".zst", true
		file, err = os.Open(s.path)
	}
	if err != nil {
		return err
	}
	defer file.Close()
	var r io.Reader = file
	if s.packed {
		z, err := zstd.NewReader(file, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return err
		}
		defer z.Close()
		r = z
	}
	lines := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF { // a line that is being written does not count yet
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.path, err)
		}
		e := new(step.Event)
		if err := json.Unmarshal(line, e); err != nil {
			return fmt.Errorf("%s: %w", s.path, err)
		}
		if err := f(e); err != nil {
			return err
		}
	}
}

// pack replaces a segment by its compressed form.
func pack(path string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	tmp, err := os.Create(path + ".zst.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	z, err := zstd.NewWriter(tmp, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	if _, err := io.Copy(z, in); err != nil {
		return err
	}
	if err := errors.Join(z.Close(), tmp.Sync()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path+".zst"); err != nil {
		return err
	}
	return os.Remove(path)
}
