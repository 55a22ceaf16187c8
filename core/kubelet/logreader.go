package kubelet

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"time"
)

// logPoll is how often a followed log is looked at.
const logPoll = 50 * time.Millisecond

// readLog copies the wanted part of a log in the CRI's format. Following ends
// when the container does, after its last line, and goes on in the new file
// when the log is rotated.
func readLog(ctx context.Context, out io.Writer, path string, o logOptions, running func() bool) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { f.Close() }()
	if o.tail >= 0 {
		if err := seekTail(f, o.tail); err != nil {
			return err
		}
	}
	w := &logWriter{out: out, o: o, left: o.limit}
	last := !o.follow
	for old := false; ; {
		if err := w.copy(f); err != nil {
			return ignoreFull(err)
		}
		switch {
		case old: // nobody writes into it any more, and it was read to its end
			next, err := os.Open(path)
			if err != nil {
				return err
			}
			f.Close()
			f, old, w.rest = next, false, nil
			continue
		case o.follow && replaced(f, path):
			old = true
			continue
		case last:
			return nil
		}
		last = !running() // then everything is in the file: one more look
		if last {
			continue
		}
		if err := o.await(ctx); err != nil {
			return err
		}
	}
}

// await returns when the log is worth another look.
func (o *logOptions) await(ctx context.Context) error {
	var due <-chan time.Time
	if o.changed == nil {
		due = time.After(logPoll) //nolint:forbidigo // a log is read on while the lab is held
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-o.changed:
	case <-due:
	}
	return nil
}

// replaced tells whether another file is now at the path.
func replaced(f *os.File, path string) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	now, err := os.Stat(path)
	return err == nil && !os.SameFile(mine, now)
}

// copy writes what is in the file from where it was read to. The beginning of
// a record is kept until its end is there.
func (w *logWriter) copy(f *os.File) error {
	in := bufio.NewReaderSize(f, 64<<10)
	for {
		line, err := in.ReadBytes('\n')
		w.rest = append(w.rest, line...)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := w.record(w.rest); err != nil {
			return err
		}
		w.rest = w.rest[:0]
	}
}

var errFull = errors.New("limit reached")

func ignoreFull(err error) error {
	if errors.Is(err, errFull) {
		return nil
	}
	return err
}

// logWriter writes records as people want them.
type logWriter struct {
	out  io.Writer
	o    logOptions
	left int64  // bytes; negative: no limit
	mid  bool   // in the middle of a line that came in parts
	rest []byte // a record of which the end is missing so far
}

// record writes one record: TIME STREAM TAG TEXT. What has not that form is
// written as it is.
func (w *logWriter) record(line []byte) error {
	fields := bytes.SplitN(line, []byte(" "), 4)
	if len(fields) < 4 {
		return w.write(line)
	}
	at, err := time.Parse(time.RFC3339Nano, string(fields[0]))
	if err != nil {
		return w.write(line)
	}
	if at.Before(w.o.since) || w.o.stream != "" && w.o.stream != string(fields[1]) {
		return nil
	}
	text := fields[3]
	partial := bytes.HasPrefix(fields[2], []byte("P"))
	if partial {
		text = bytes.TrimSuffix(text, []byte("\n"))
	}
	if w.o.timestamps && !w.mid {
		text = append(append(bytes.Clone(fields[0]), ' '), text...)
	}
	w.mid = partial
	return w.write(text)
}

func (w *logWriter) write(p []byte) error {
	if w.left >= 0 && int64(len(p)) >= w.left {
		if _, err := w.out.Write(p[:w.left]); err != nil {
			return err
		}
		return errFull
	}
	if w.left >= 0 {
		w.left -= int64(len(p))
	}
	_, err := w.out.Write(p)
	return err
}

// seekTail puts f before its last n lines; parts of a line count as one.
func seekTail(f *os.File, n int64) error {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	const block = 32 << 10
	var tail []byte
	at := end
	for at > 0 && int64(countLines(tail)) <= n {
		size := min(at, block)
		at -= size
		chunk := make([]byte, size, size+int64(len(tail)))
		if _, err := f.ReadAt(chunk, at); err != nil {
			return err
		}
		tail = append(chunk, tail...)
	}
	_, err = f.Seek(end-int64(len(lastLines(tail, n))), io.SeekStart)
	return err
}

func full(record []byte) bool {
	fields := bytes.SplitN(record, []byte(" "), 4)
	return len(fields) < 4 || !bytes.HasPrefix(fields[2], []byte("P"))
}

func countLines(text []byte) int {
	count := 0
	for line := range bytes.Lines(text) {
		if full(line) {
			count++
		}
	}
	return count
}

func lastLines(text []byte, n int64) []byte {
	skip := int64(countLines(text)) - n
	for skip > 0 && len(text) > 0 {
		end := bytes.IndexByte(text, '\n') + 1
		if end == 0 {
			return nil
		}
		if full(text[:end]) {
			skip--
		}
		text = text[end:]
	}
	return text
}

// logTail is the end of a log as plain text.
func logTail(path string, lines, limit int64) string {
	var b strings.Builder
	err := readLog(context.Background(), &b, path, logOptions{tail: lines, limit: -1}, func() bool { return false })
	if err != nil {
		return ""
	}
	text := b.String()
	return text[max(0, len(text)-int(limit)):]
}

// CopyLog copies a log in the CRI's format, without times, and follows it for
// as long as running says that somebody writes it.
func CopyLog(ctx context.Context, out io.Writer, path string, running func() bool) error {
	return readLog(ctx, out, path, logOptions{follow: true, tail: -1, limit: -1}, running)
}

// FollowLog is CopyLog that looks at the log only when changed says that it has
// changed, or that running has. From the end on, it leaves out what is there already.
func FollowLog(ctx context.Context, out io.Writer, path string, end bool, changed <-chan struct{}, running func() bool) error {
	o := logOptions{follow: true, tail: -1, limit: -1, changed: changed}
	if end {
		o.tail = 0
	}
	return readLog(ctx, out, path, o, running)
}
