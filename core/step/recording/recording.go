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
	"bytes"
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

// Read reads a recording. With ErrTruncated it returns what there was.
func Read(r io.Reader) (*Recording, error) {
	d, err := newDecoder(r)
	if err != nil {
		return &Recording{}, err
	}
	defer d.close()
	rec := &Recording{Header: d.header}
	for {
		e, err := d.next()
		if errors.Is(err, io.EOF) {
			return rec, nil
		}
		if err != nil {
			return rec, err
		}
		rec.Events = append(rec.Events, e)
	}
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
	if err != nil {
		return nil, explain(path, err)
	}
	return r, nil
}

func explain(path string, err error) error {
	if errors.Is(err, ErrTruncated) {
		return fmt.Errorf("%s: %w: the end of the file is missing; copy it again, or record it again with \"klab record\"", path, err)
	}
	return fmt.Errorf("%s: %w", path, err)
}

// decoder reads a recording line by line.
type decoder struct {
	zstd   *zstd.Decoder
	lines  *bufio.Reader
	header step.Header
	events uint64
}

func newDecoder(r io.Reader) (*decoder, error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20))
	if err != nil {
		return nil, err
	}
	d := &decoder{zstd: z, lines: bufio.NewReaderSize(z, 64<<10)}
	first, err := d.lines.ReadBytes('\n')
	switch {
	case err != nil || json.Unmarshal(first, &d.header) != nil || d.header.Format == 0:
		err = errors.New("this is no klab recording")
	case d.header.Format > Format:
		err = fmt.Errorf("the recording has format %d and this klab reads up to %d: use the klab that made it (%s) or a newer one",
			d.header.Format, Format, d.header.Version)
	}
	if err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func (d *decoder) close() { d.zstd.Close() }

// line returns the next line; io.EOF after the footer, ErrTruncated if there
// is none.
func (d *decoder) line() ([]byte, error) {
	line, err := d.lines.ReadBytes('\n')
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("%w after event %d", ErrTruncated, d.events)
	}
	if err != nil {
		return nil, fmt.Errorf("line %d of the recording: %w", d.events+2, err)
	}
	if !bytes.HasPrefix(line, footerBegins) {
		d.events++
		return line, nil
	}
	var f step.Footer
	if err := json.Unmarshal(line, &f); err != nil || f.Events != d.events {
		return nil, fmt.Errorf("the recording has %d events, and its last line is %q", d.events, bytes.TrimSpace(line))
	}
	return nil, io.EOF
}

// footerBegins is how a footer differs from an event, which begins with seq.
var footerBegins = []byte(`{"end"`)

func (d *decoder) next() (*step.Event, error) {
	line, err := d.line()
	if err != nil {
		return nil, err
	}
	e := new(step.Event)
	if err := json.Unmarshal(line, e); err != nil {
		return nil, fmt.Errorf("line %d of the recording: %w", d.events+1, err)
	}
	return e, nil
}
