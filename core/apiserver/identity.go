package apiserver

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klab-project/klab/core/step"
)

// identity is who sends a request: a user and its groups.
type identity struct {
	Name   string
	UID    string
	Groups []string
	Extra  map[string][]string
}

var anonymous = identity{Name: "system:anonymous", Groups: []string{"system:unauthenticated"}}

const (
	groupMasters       = "system:masters"
	groupNodes         = "system:nodes"
	groupAuthenticated = "system:authenticated"
	nodeUserPrefix     = "system:node:"
)

func (i identity) in(group string) bool { return slices.Contains(i.Groups, group) }

// node is the name of the node whose kubelet this is, or "".
func (i identity) node() string {
	if !i.in(groupNodes) {
		return ""
	}
	name, _ := strings.CutPrefix(i.Name, nodeUserPrefix)
	return name
}

// component tells whether this is a part of the cluster and no person.
func (i identity) component() bool {
	return strings.HasPrefix(i.Name, "system:") && i.Name != anonymous.Name
}

// actor is the identity's name in steps, with the node of a node's user. All
// controllers share one user, and so do all parts of a node, so it is the
// first word of their User-Agent that tells them apart.
func (i identity) actor(userAgent string) (actor, node string) {
	node = i.node()
	agent := userAgent
	if end := strings.IndexAny(agent, "/ "); end >= 0 {
		agent = agent[:end]
	}
	if agent == "" || agent == "Go-http-client" {
		agent = "kubectl"
		if node != "" {
			agent = "kubelet"
		} else if i.component() {
			agent = strings.TrimPrefix(i.Name, "system:")
		}
	}
	return printable(agent, 64), node
}

// printable keeps the printable ASCII characters of s, at most limit.
func printable(s string, limit int) string {
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
	return clean[:min(len(clean), limit)]
}

type identityKey struct{}

func withIdentity(ctx context.Context, i identity) context.Context {
	return context.WithValue(ctx, identityKey{}, i)
}

// identify finds out whom a request is to be taken for.
func (s *Server) identify(r *http.Request) (identity, error) {
	i, err := s.sender(r)
	if err != nil {
		return i, err
	}
	return s.impersonate(r, i)
}

// sender finds out who sends r: the in-process transport says so in the
// context, everybody else has a token or a client certificate.
func (s *Server) sender(r *http.Request) (identity, error) {
	if i, ok := r.Context().Value(identityKey{}).(identity); ok {
		return i.authenticated(), nil
	}
	if token := bearer(r); token != "" {
		i, _, err := s.whose(r.Context(), token, nil)
		if err != nil {
			return anonymous, err
		}
		return i.authenticated(), nil
	}
	if s.cfg.ClientCA == nil {
		return identity{Name: "kubernetes-admin", Groups: []string{groupMasters}}.authenticated(), nil
	}
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		if r.Header.Get("Authorization") != "" {
			return anonymous, fmt.Errorf("passwords are not known here: send a client certificate or a bearer token")
		}
		return anonymous, nil
	}
	if err := s.certificates.verify(s.cfg.ClientCA, r.TLS.PeerCertificates); err != nil {
		return anonymous, err
	}
	subject := r.TLS.PeerCertificates[0].Subject
	if subject.CommonName == "" {
		return anonymous, fmt.Errorf("the client certificate has no common name")
	}
	return identity{Name: subject.CommonName, Groups: slices.Clone(subject.Organization)}.authenticated(), nil
}

func (i identity) authenticated() identity {
	i.Groups = append(slices.Clip(i.Groups), groupAuthenticated)
	return i
}

// certificates remembers which client certificates were verified, because
// that costs more than most requests.
type certificates struct {
	mu    sync.Mutex
	valid map[[sha256.Size]byte]time.Time // until when
}

func (c *certificates) verify(roots *x509.CertPool, chain []*x509.Certificate) error {
	id := sha256.Sum256(chain[0].Raw)
	now := time.Now() //nolint:forbidigo // TLS judges certificates by the machine's time too
	c.mu.Lock()
	until, ok := c.valid[id]
	c.mu.Unlock()
	if ok && now.Before(until) {
		return nil
	}
	intermediates := x509.NewCertPool()
	for _, cert := range chain[1:] {
		intermediates.AddCert(cert)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.valid == nil || len(c.valid) >= 1024 {
		c.valid = map[[sha256.Size]byte]time.Time{}
	}
	c.valid[id] = chain[0].NotAfter
	return nil
}

// quiet tells whether a request is housekeeping, held only at the finest zoom.
func (i identity) quiet(r *request) bool {
	switch {
	case r.stepVerb == step.Get, r.stepVerb == step.List, r.stepVerb == step.Watch:
		return true
	case r.path.Group == "coordination.k8s.io", isEvents(r.path.Resource):
		return true
	case strings.HasSuffix(r.path.Resource, "accessreviews"), strings.HasSuffix(r.path.Resource, "subjectreviews"):
		return true
	case r.path.Resource == "nodes" && r.path.Sub == "status":
		return i.node() != ""
	}
	return false
}

func isEvents(resource string) bool { return resource == "events" }
