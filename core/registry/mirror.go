package registry

import (
	"net/http"
	"regexp"
)

// mirrored is the query parameter that names the registry for which another
// one is asked. It is containerd's, so that containerd can use this registry as
// its mirror too.
const mirrored = "ns"

var hostRule = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,252}[a-z0-9])?(:[0-9]{1,5})?$`)

// key is the name under which a repository of a registry is kept: that of
// klab's own as it is, that of any other after its host's. It is empty if host
// is none.
func key(host, repo string) string {
	switch {
	case host == "" || host == Host:
		return repo
	case host == "index.docker.io":
		host = "docker.io"
	case !hostRule.MatchString(host):
		return ""
	}
	return host + "/" + repo
}

// Mirror sends every request to the registry at addr (host:port, plain http)
// instead of to the registry that it is for, whose name goes along.
func Mirror(addr string, next http.RoundTripper) http.RoundTripper {
	return mirror{addr, next}
}

type mirror struct {
	addr string
	next http.RoundTripper
}

func (m mirror) RoundTrip(req *http.Request) (*http.Response, error) {
	there := req.Clone(req.Context())
	q := there.URL.Query()
	q.Set(mirrored, req.URL.Host)
	there.URL.Scheme, there.URL.Host, there.URL.RawQuery = "http", m.addr, q.Encode()
	there.Host = ""
	return m.next.RoundTrip(there)
}

// ReadOnly lets requests through that change nothing.
func ReadOnly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if reads(w, req) {
			h.ServeHTTP(w, req)
		}
	})
}
