package apiserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kubernetes/pkg/apis/core"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"github.com/klab-project/klab/core/api"
)

// connectLog streams a container's log from the kubelet.
func (r *request) connectLog(ctx context.Context, pod *core.Pod) error {
	o := &core.PodLogOptions{}
	if err := api.Parameters().DecodeParameters(r.query, corev1.SchemeGroupVersion, o); err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	if o.Stream == nil {
		o.Stream = new(core.LogStreamAll)
	}
	if errs := corevalidation.ValidatePodLogOptions(o, true); len(errs) > 0 {
		return apierrors.NewInvalid(schema.GroupKind{Kind: "PodLogOptions"}, pod.Name, errs)
	}
	container, err := containerOf(pod, o.Container)
	if err != nil {
		return err
	}
	if pod.Spec.NodeName == "" { // it has not said anything yet
		r.hijack = func(_ context.Context, w http.ResponseWriter) { r.relay(w, http.NoBody, false) }
		return nil
	}
	location, err := r.server.kubelet(ctx, pod.Spec.NodeName)
	if err != nil {
		return err
	}
	location.Path = fmt.Sprintf("/containerLogs/%s/%s/%s", pod.Namespace, pod.Name, container)
	location.RawQuery = logParameters(o).Encode()
	r.note(ctx, "read from %s", location.Host)
	answer, err := r.askKubelet(ctx, location) //nolint:bodyclose // relay closes it
	if err != nil {
		return err
	}
	r.hijack = func(_ context.Context, w http.ResponseWriter) { r.relay(w, answer.Body, o.Follow) }
	return nil
}

func logParameters(o *core.PodLogOptions) url.Values {
	params := url.Values{}
	number := func(name string, value *int64) {
		if value != nil {
			params.Set(name, strconv.FormatInt(*value, 10))
		}
	}
	for name, set := range map[string]bool{"follow": o.Follow, "previous": o.Previous, "timestamps": o.Timestamps} {
		if set {
			params.Set(name, "true")
		}
	}
	number("sinceSeconds", o.SinceSeconds)
	number("tailLines", o.TailLines)
	number("limitBytes", o.LimitBytes)
	if o.SinceTime != nil {
		params.Set("sinceTime", o.SinceTime.Format(time.RFC3339))
	}
	if *o.Stream != core.LogStreamAll {
		params.Set("stream", *o.Stream)
	}
	return params
}

// askKubelet sends a GET; what is not a 200 becomes a Status.
func (r *request) askKubelet(ctx context.Context, location *url.URL) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, location.String(), nil)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	answer, err := r.server.kubelets.RoundTrip(req)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	if answer.StatusCode >= 200 && answer.StatusCode < 300 {
		return answer, nil
	}
	defer func() { _ = answer.Body.Close() }()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 50_000))
	message := strings.TrimSpace(string(text))
	switch answer.StatusCode {
	case http.StatusInternalServerError:
		return nil, apierrors.NewInternalError(errors.New(message))
	case http.StatusBadRequest:
		return nil, apierrors.NewBadRequest(message)
	}
	gr := schema.GroupResource{Resource: "pods/log"}
	return nil, apierrors.NewGenericServerResponse(answer.StatusCode, "", gr, r.path.Name, message, 0, true)
}

// relay copies a log, into the messages of a websocket if the client wants one;
// a followed log is sent on line by line.
func (r *request) relay(w http.ResponseWriter, log io.ReadCloser, flush bool) {
	defer func() { _ = log.Close() }()
	if wsstream.IsWebSocketRequest(r.http) {
		// An error here is the client's: it has gone, or asked for a protocol
		// that there is not, and was told so. The end of a log must come after its
		// last bytes, not with them, or they are lost.
		_ = wsstream.NewReader(bufio.NewReader(log), true, wsstream.NewDefaultReaderProtocols()).Copy(w, r.http)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(http.StatusOK)
	control := http.NewResponseController(w)
	if flush {
		_ = control.Flush()
	}
	buffer := make([]byte, 32<<10)
	for {
		n, err := log.Read(buffer)
		if n > 0 {
			if _, writeErr := w.Write(buffer[:n]); writeErr != nil {
				return
			}
			if flush {
				_ = control.Flush()
			}
		}
		if err != nil {
			return
		}
	}
}
