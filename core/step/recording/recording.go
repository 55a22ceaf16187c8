// Package recording keeps the events of a lab in files.
//
// A recording is one file that plays anywhere: zstd-compressed JSON lines, a
// [step.Header], the events, and a [step.Footer] that proves it is whole.
// [Write] makes one and [Read] reads it. An [Archive] is the directory in
// which a running lab keeps everything that its journal has seen: it survives
// a kill at any moment and loses at most the last line.
package recording

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"github.com/klauspost/compress/zstd"

	"github.com/klab-project/klab/core/step"
)

// Format is the version of the format that this package writes.
const Format = 1

// ErrTruncated is the error of Read for a recording without its footer.
var ErrTruncated = errors.New("recording is truncated")

// Write writes a whole recording.
func Write(w io.Writer, h step.Header, events iter.Seq2[*step.Event, error]) (uint64, error) {
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return 0, err
	}
	h.Format = Format
	enc := json.NewEncoder(z)
	if err := enc.Encode(h); err != nil {
		return 0, err
	}
	var n uint64
	for e, err := range events {
		if err != nil {
			return n, err
		}
		if err := enc.Encode(e); err != nil {
			return n, err
		}
		n++
	}
	if err := enc.Encode(step.Footer{End: true, Events: n}); err != nil {
		return n, err
	}
	return n, z.Close()
}

// Recording is a recording in memory.
type Recording struct {
	Header step.Header
	Events []*step.Event
}

// Open reads the recording in a file. Its errors say what is wrong with the
// file and what to do.
func Open(path string) (*Recording, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := Read(f)
	switch {
	case errors.Is(err, ErrTruncated):
		return nil, fmt.Errorf("%s: %w after event %d: the end of the file is missing; copy it again, or record it again with \"klab record\"",
			path, err, len(r.Events))
	case err != nil:
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// Read reads a recording. With ErrTruncated it returns what there was.
func Read(r io.Reader) (*Recording, error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	lines := bufio.NewReaderSize(z, 64<<10)
	rec := &Recording{}
	first, err := lines.ReadBytes('\n')
	if err != nil || json.Unmarshal(first, &rec.Header) != nil || rec.Header.Format == 0 {
		return rec, errors.New("this is no klab recording")
	}
	if rec.Header.Format > Format {
		return rec, fmt.Errorf("the recording has format %d and this klab reads up to %d: use the klab that made it (%s) or a newer one",
			rec.Header.Format, Format, rec.Header.Version)
	}
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return rec, ErrTruncated
		}
		if err == nil {
			var done bool
			if done, err = rec.add(line); done {
				return rec, err
			}
		}
		if err != nil {
			return rec, fmt.Errorf("line %d of the recording: %w", len(rec.Events)+2, err)
		}
	}
}

// add takes one line after the header; done says that it was the last one.
func (r *Recording) add(line []byte) (done bool, err error) {
	var l struct {
		step.Event
		step.Footer
	}
	if err := json.Unmarshal(line, &l); err != nil {
		return false, err
	}
	if !l.End {
		r.Events = append(r.Events, &l.Event)
		return false, nil
	}
	if n := uint64(len(r.Events)); l.Footer.Events != n {
		return true, fmt.Errorf("the recording has %d events and says it has %d", n, l.Footer.Events)
	}
	return true, nil
}
