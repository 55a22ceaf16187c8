package ingress

import (
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
)

// triesMost bounds how many endpoints one request is sent to.
const triesMost = 3

// tries sends a request to the next endpoint if one cannot be reached. What has
// reached one, and then got no answer, is sent again only if that does no harm:
// an idempotent request (RFC 9110, section 9.2.2) whose body nobody has read.
type tries struct {
	next      http.RoundTripper
	balance   *balance
	endpoints []string // in the order in which they are tried
	at        string   // the one that has the request
}

func (t *tries) RoundTrip(r *http.Request) (res *http.Response, err error) {
	body := &untouched{ReadCloser: r.Body}
	for _, to := range t.endpoints[:min(len(t.endpoints), triesMost)] {
		out := r.Clone(r.Context())
		out.URL.Host = to
		if r.Body != nil && r.Body != http.NoBody {
			out.Body = body
		}
		t.release()
		t.at = to
		t.balance.begin(to)
		res, err = t.next.RoundTrip(out)
		if err == nil || r.Context().Err() != nil {
			return res, err
		}
		t.balance.failed(to)
		if body.read.Load() || !unsent(err) && !idempotent(r.Method) {
			return res, err
		}
	}
	return res, err
}

// release tells that the endpoint no longer has the request.
func (t *tries) release() {
	if t.at != "" {
		t.balance.end(t.at)
		t.at = ""
	}
}

// unsent tells whether a request has surely reached nobody.
func unsent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

func idempotent(method string) bool {
	return slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete}, method)
}

// untouched is a request's body that can be sent again as long as nobody has read
// of it; the server closes it.
type untouched struct {
	io.ReadCloser
	read atomic.Bool // a transport may read still when it has given up
}

func (u *untouched) Read(p []byte) (int, error) {
	u.read.Store(true)
	return u.ReadCloser.Read(p)
}

func (u *untouched) Close() error { return nil }
