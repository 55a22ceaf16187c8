package kubelet

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"

	runtimestreams "github.com/klab-project/klab/core/runtime/streams"
	"github.com/klab-project/klab/core/step"
)

// Time-outs of streams, as upstream's.
const (
	streamIdle     = 4 * time.Hour
	streamCreation = 30 * time.Second
)

// streams connects k8s.io/cri-streaming with the runtime.
type streams struct {
	k   *Kubelet
	ctx context.Context // has the lab and the step of the request
}

func (k *Kubelet) serveExec(w http.ResponseWriter, r *http.Request) {
	_, _, status, err := k.target(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if status.State.Running == nil {
		http.Error(w, fmt.Sprintf("container not found (%q)", status.Name), http.StatusInternalServerError)
		return
	}
	remotecommand.ServeExec(w, r, k.streams(r), "", "", trimScheme(status.ContainerID), r.URL.Query()["command"], options,
		streamIdle, streamCreation, remotecommand.SupportedStreamingProtocols)
}

func (k *Kubelet) serveAttach(w http.ResponseWriter, r *http.Request) {
	_, _, status, err := k.target(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeAttach(w, r, k.streams(r), "", "", trimScheme(status.ContainerID), options,
		streamIdle, streamCreation, remotecommand.SupportedStreamingProtocols)
}

func (k *Kubelet) servePortForward(w http.ResponseWriter, r *http.Request) {
	worker, _, _, err := k.target(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	options, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	sandbox, err := worker.sandbox()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	portforward.ServePortForward(w, r, k.streams(r), sandbox, "", options, streamIdle, streamCreation, portforward.SupportedProtocols)
}

func (k *Kubelet) streams(r *http.Request) *streams {
	return &streams{k: k, ctx: step.WithParent(r.Context(), step.ParentOf(r))}
}

// sandbox is the id of the pod's present sandbox.
func (w *podWorker) sandbox() (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ready == "" {
		return "", fmt.Errorf("pod %s has no sandbox", podText(w.pod))
	}
	return w.ready, nil
}

// ExecInContainer runs a command; container is the container's id.
func (s *streams) ExecInContainer(_ context.Context, _, _, container string, cmd []string, in io.Reader, out, err io.WriteCloser,
	tty bool, resize <-chan remotecommand.TerminalSize, timeout time.Duration) error {
	ctx := s.ctx
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	return runtimestreams.Exec(ctx, s.k.Runtime, container, cmd, runtimestreams.Terminal{In: in, Out: out, Err: err, TTY: tty, Resize: resize})
}

// AttachContainer connects to a container; container is its id.
func (s *streams) AttachContainer(_ context.Context, _, _, container string, in io.Reader, out, err io.WriteCloser,
	tty bool, resize <-chan remotecommand.TerminalSize) error {
	return runtimestreams.Attach(s.ctx, s.k.Runtime, container, runtimestreams.Terminal{In: in, Out: out, Err: err, TTY: tty, Resize: resize})
}

// PortForward connects to a port in a pod; name is its sandbox's id.
func (s *streams) PortForward(_ context.Context, name, _ string, port int32, stream io.ReadWriteCloser) error {
	return s.k.Runtime.PortForward(s.ctx, name, port, stream)
}
