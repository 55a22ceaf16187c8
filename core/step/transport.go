package step

import (
	"context"
	"fmt"
	"net/http"
)

// Transport wraps an HTTP transport so that each request says which step sent
// it, in the header of the W3C recommendation "Trace Context".
func Transport(next http.RoundTripper) http.RoundTripper { return transport{next} }

type transport struct{ next http.RoundTripper }

func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if id := Current(req.Context()); id != 0 {
		req = req.Clone(req.Context())
		req.Header.Set("Traceparent", fmt.Sprintf("00-%032x-%016x-01", 1, id))
	}
	return t.next.RoundTrip(req)
}

// ParentOf is the step that sent req, or 0.
func ParentOf(req *http.Request) uint64 {
	var version, flags uint8
	var trace string
	var parent uint64
	n, err := fmt.Sscanf(req.Header.Get("Traceparent"), "%02x-%32s-%016x-%02x", &version, &trace, &parent, &flags)
	if err != nil || n != 4 {
		return 0
	}
	return parent
}

// Detach returns a context that has ctx's lab but neither its deadline nor its
// enclosing step.
func Detach(ctx context.Context) context.Context {
	lab := From(ctx)
	ctx = context.WithoutCancel(ctx)
	if lab == nil {
		return ctx
	}
	return With(ctx, lab)
}
