package apiserver

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"github.com/klab-project/klab/core/step"
)

// asStatus is an error as the API shows it.
func asStatus(err error) *metav1.Status {
	var status apierrors.APIStatus
	var injected *step.Injected
	out := metav1.Status{}
	switch {
	case errors.As(err, &status):
		out = status.Status()
	case errors.As(err, &injected):
		out = apierrors.NewInternalError(errors.New(injected.Msg)).ErrStatus
	case errors.Is(err, context.DeadlineExceeded):
		out = apierrors.NewTimeoutError("the request took too long", 0).ErrStatus
	case errors.Is(err, errAgain):
		out = apierrors.NewServerTimeout(schema.GroupResource{}, "write", 1).ErrStatus
	default:
		out = apierrors.NewInternalError(err).ErrStatus
	}
	out.Kind, out.APIVersion = "Status", "v1"
	if out.Status == "" {
		out.Status = metav1.StatusFailure
	}
	if out.Code == 0 {
		out.Code = http.StatusInternalServerError
	}
	return &out
}

// writeError answers with a Status, in the format that the client reads.
func (s *Server) writeError(w http.ResponseWriter, r *http.Request, err error, header http.Header, warnings []string) {
	status := asStatus(err)
	format, negotiateErr := s.negotiate(r)
	if negotiateErr != nil {
		format = accepted{SerializerInfo: s.codecs.SupportedMediaTypes()[0]}
	}
	var body bytes.Buffer
	if err := format.Serializer.Encode(status, &body); err != nil {
		http.Error(w, "the error does not encode: "+err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	for k, v := range header {
		h[k] = v
	}
	addWarnings(h, warnings)
	h.Set("Content-Type", format.MediaType)
	h.Set("Cache-Control", "no-cache, private")
	h.Set("X-Content-Type-Options", "nosniff")
	if status.Details != nil && status.Details.RetryAfterSeconds > 0 {
		h.Set("Retry-After", strconv.Itoa(int(status.Details.RetryAfterSeconds)))
	}
	w.WriteHeader(int(status.Code))
	if r.Method != http.MethodHead {
		_, _ = w.Write(body.Bytes())
	}
}

// addWarnings sends warnings as headers, each once; RFC 9110 calls the code
// 299 "miscellaneous persistent warning".
func addWarnings(h http.Header, warnings []string) {
	seen := map[string]bool{}
	for _, text := range warnings {
		if seen[text] {
			continue
		}
		seen[text] = true
		if header, err := utilnet.NewWarningHeader(299, "-", text); err == nil {
			h.Add("Warning", header)
		}
	}
}
