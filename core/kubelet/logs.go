package kubelet

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// logOptions say which part of a log is wanted. (PodLogOptions of the API.)
type logOptions struct {
	follow, timestamps, previous bool
	tail                         int64 // lines from the end; negative: all
	limit                        int64 // bytes; negative: all
	since                        time.Time
	stream                       string // "stdout" or "stderr"; empty: both
}

func parseLogOptions(q url.Values, now time.Time) (logOptions, error) {
	o := logOptions{tail: -1, limit: -1}
	for name, into := range map[string]*bool{"follow": &o.follow, "timestamps": &o.timestamps, "previous": &o.previous} {
		if text := q.Get(name); text != "" {
			value, err := strconv.ParseBool(text)
			if err != nil {
				return o, fmt.Errorf("%s must be true or false, not %q", name, text)
			}
			*into = value
		}
	}
	for name, into := range map[string]*int64{"tailLines": &o.tail, "limitBytes": &o.limit} {
		if text := q.Get(name); text != "" {
			value, err := strconv.ParseInt(text, 10, 64)
			if err != nil || value < 0 {
				return o, fmt.Errorf("%s must be a number that is not negative, not %q", name, text)
			}
			*into = value
		}
	}
	if text := q.Get("sinceSeconds"); text != "" {
		value, err := strconv.ParseInt(text, 10, 64)
		if err != nil || value < 1 {
			return o, fmt.Errorf("sinceSeconds must be a positive number, not %q", text)
		}
		o.since = now.Add(-time.Duration(value) * time.Second)
	}
	if text := q.Get("sinceTime"); text != "" {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return o, fmt.Errorf("sinceTime must be a time as in RFC 3339, not %q", text)
		}
		o.since = at
	}
	switch q.Get("stream") {
	case corev1.LogStreamStdout:
		o.stream = "stdout"
	case corev1.LogStreamStderr:
		o.stream = "stderr"
	}
	return o, nil
}

func (k *Kubelet) serveLogs(w http.ResponseWriter, r *http.Request) {
	worker, pod, status, err := k.target(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	// Times in logs are the machine's, not the lab's.
	o, err := parseLogOptions(r.URL.Query(), time.Now())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	path, running, err := k.findLog(worker, pod, status, o.previous)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	out := &flushing{w: w}
	out.f, _ = w.(http.Flusher)
	if o.follow && out.f != nil {
		w.WriteHeader(http.StatusOK)
		out.f.Flush()
	}
	if err := readLog(r.Context(), out, path, o, running); err != nil && r.Context().Err() == nil {
		k.log.Debug("read log", "path", path, "err", err)
	}
}

type flushing struct {
	w io.Writer
	f http.Flusher
}

func (f *flushing) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if f.f != nil {
		f.f.Flush()
	}
	return n, err
}

// findLog is the log of the container's present or previous life, and a
// function that tells whether that life still lasts.
func (k *Kubelet) findLog(w *podWorker, pod *corev1.Pod, s *corev1.ContainerStatus, previous bool) (path string, running func() bool, err error) {
	attempt := int(s.RestartCount)
	id := s.ContainerID
	waits := s.State.Waiting
	switch {
	case previous && s.LastTerminationState.Terminated != nil:
		// While it waits for its next life the latest one is the previous one.
		if waits == nil || s.LastTerminationState.Terminated.ContainerID != s.ContainerID {
			attempt--
		}
		id = s.LastTerminationState.Terminated.ContainerID
	case previous:
		return "", nil, fmt.Errorf("previous terminated container %q in pod %q not found", s.Name, pod.Name)
	case waits != nil && s.ContainerID == "":
		return "", nil, fmt.Errorf("container %q in pod %q is waiting to start: %s", s.Name, pod.Name, waitReason(waits))
	}
	path = filepath.Join(k.logDir(pod), s.Name, fmt.Sprint(attempt)+".log")
	if _, err := os.Stat(path); err != nil {
		return "", nil, fmt.Errorf("the log of container %q in pod %q is not there", s.Name, pod.Name)
	}
	return path, func() bool { return w.runs(trimScheme(id)) }, nil
}

func waitReason(w *corev1.ContainerStateWaiting) string {
	switch w.Reason {
	case "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName":
		return "trying and failing to pull image"
	case "":
		return "no reason given"
	}
	return w.Reason
}

// runs tells whether a container runs, as far as the worker knows.
func (w *podWorker) runs(id string) bool {
	status := w.published()
	for _, list := range [][]corev1.ContainerStatus{status.ContainerStatuses, status.InitContainerStatuses, status.EphemeralContainerStatuses} {
		for i := range list {
			if trimScheme(list[i].ContainerID) == id {
				return list[i].State.Running != nil
			}
		}
	}
	return false
}

// logPoll is how often a followed log is looked at.
const logPoll = 50 * time.Millisecond

// readLog copies the wanted part of a log in the CRI's format. Following ends
// when the container does, after its last line.
func readLog(ctx context.Context, out io.Writer, path string, o logOptions, running func() bool) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if o.tail >= 0 {
		if err := seekTail(f, o.tail); err != nil {
			return err
		}
	}
	w := &logWriter{out: out, o: o, left: o.limit}
	in := bufio.NewReaderSize(f, 64<<10)
	var part []byte
	last := !o.follow
	for {
		line, err := in.ReadBytes('\n')
		part = append(part, line...)
		if err == nil {
			if err := w.record(part); err != nil {
				return ignoreFull(err)
			}
			part = part[:0]
			continue
		}
		if !errors.Is(err, io.EOF) {
			return err
		}
		if last {
			return nil
		}
		last = !running() // then everything is in the file: one more look
		if last {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(logPoll):
		}
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
	left int64 // bytes; negative: no limit
	mid  bool  // in the middle of a line that came in parts
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
