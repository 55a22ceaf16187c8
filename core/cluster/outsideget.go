package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/klab-project/klab/netlab/netns"
)

// OutsideGet is a request that the host outside of the cluster makes.
type OutsideGet struct {
	URL string
	At  string // where it connects to, whatever name the URL has: an address, with a port if it is another one
	CA  []byte // in PEM: who else is trusted to sign certificates
}

// OutsideAnswer is what came back.
type OutsideAnswer struct {
	Status string // "200 OK"
	TLS    string // what was shown to prove who answers; empty without TLS
	Body   string
}

// outsidePatience is how long the outside host waits for an answer, and
// outsideMost how much of it is read.
const (
	outsidePatience = 10 * time.Second
	outsideMost     = 1 << 20
)

// Get makes the request. Whatever certificate is shown, it goes on, and says
// what it thinks of it.
func (g OutsideGet) Get(ctx context.Context, d Dir) (a OutsideAnswer, err error) {
	if d.Daemon() == 0 {
		return a, d.notUp()
	}
	ctx, cancel := context.WithTimeout(ctx, outsidePatience)
	defer cancel()
	if !strings.Contains(g.URL, "://") {
		g.URL = "http://" + g.URL
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.URL, nil)
	if err != nil {
		return a, err
	}
	dial := netns.Dialer(filepath.Join(d.net(), "outside"))
	transport := &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			addr, err := g.at(addr)
			if err != nil {
				return nil, err
			}
			return dial(ctx, network, addr)
		},
	}
	res, err := transport.RoundTrip(req) // so that whoever is sent elsewhere sees it
	if err != nil {
		return a, fmt.Errorf("the outside host gets no answer from %s: %w", req.URL.Host, unreached(err))
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, outsideMost))
	a.Status, a.Body = res.Status, string(body)
	if res.TLS != nil {
		a.TLS = g.judge(res.TLS, req.URL.Hostname())
	}
	return a, err
}

// unreached says of a failed connection what to do next.
func unreached(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" && op.Addr != nil {
		return fmt.Errorf("%w; \"klab packet outside %s\" says where packets end", err, op.Addr)
	}
	return err
}

// at is the address to connect to instead of the URL's own.
func (g OutsideGet) at(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	switch at, own, splits := net.SplitHostPort(g.At); {
	case err != nil:
		return "", err
	case g.At == "" && net.ParseIP(host) == nil:
		return "", fmt.Errorf("outside nobody knows the name %s: say which address it has with --at", host)
	case g.At == "":
		return addr, nil
	case splits == nil:
		return net.JoinHostPort(at, own), nil
	}
	return net.JoinHostPort(strings.Trim(g.At, "[]"), port), nil
}

// judge says whose certificate it is, and whether a browser would believe it.
func (g OutsideGet) judge(state *tls.ConnectionState, name string) string {
	leaf, roots := state.PeerCertificates[0], x509.NewCertPool()
	roots.AppendCertsFromPEM(g.CA)
	_, err := leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots})
	says := "believed"
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &unknown):
		says = "not believed: nobody whom the outside host trusts has signed it"
	case err != nil:
		says = "not believed: " + err.Error()
	}
	return fmt.Sprintf("certificate of %s, for %s; %s", leaf.Subject, strings.Join(leaf.DNSNames, ", "), says)
}
