package kubelet

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// logOptions say which part of a log is wanted. (PodLogOptions of the API.)
type logOptions struct {
	follow, timestamps, previous bool
	tail                         int64 // lines from the end; negative: all
	limit                        int64 // bytes; negative: all
	since                        time.Time
	stream                       string          // "stdout" or "stderr"; empty: both
	changed                      <-chan struct{} // when a followed log is looked at; nil: every so often
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
	o, err := parseLogOptions(r.URL.Query(), time.Now()) //nolint:forbidigo // see above
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
