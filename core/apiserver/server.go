package apiserver

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/version"

	"github.com/klab-project/klab/core/api"
	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/store"
)

// Config is what a server is made of. Only Store is required.
type Config struct {
	Store store.Store
	Lab   *step.Lab // without one nothing is held or recorded

	// ClientCA signs client certificates: the common name is the user, the
	// organizations are the groups. Without it everybody is kubernetes-admin.
	ClientCA *x509.CertPool
	// TokenKey signs the tokens of service accounts (of the curve P-256), and
	// Issuer is who they say they are from. Without a key there is a new one
	// for each server; the default issuer is DefaultIssuer.
	TokenKey *ecdsa.PrivateKey
	Issuer   string
	// Authorize decides instead of roles and bindings; see Attributes. With it
	// the cluster does not get the default roles.
	Authorize func(Attributes) (allowed bool, reason string)

	// DialNode connects to a kubelet; the default is the machine's own network.
	DialNode func(ctx context.Context, network, addr string) (net.Conn, error)
	// KubeletTLS is how the server shows itself to kubelets and knows them.
	KubeletTLS *tls.Config

	// ServiceIP is the address of Service default/kubernetes, and Endpoint
	// where it leads. Without them the service is not made.
	ServiceIP netip.Addr
	// ServiceCIDR is where services get their addresses; the default is
	// 10.96.0.0/12.
	ServiceCIDR netip.Prefix
	// ServiceCIDR6 is the same of IPv6: with it the cluster has two families.
	ServiceCIDR6 netip.Prefix
	// Networks are those that no ServiceCIDR may overlap with, beside those of
	// the nodes' pods.
	Networks []Network
	Endpoint netip.AddrPort

	Version version.Info     // the default is that of the Kubernetes modules
	Now     func() time.Time // the default is the lab clock, or else the wall clock
	Seed    uint64           // of names and UIDs, if not 0: for simulations
	Log     *slog.Logger     // the default discards
}

// Server serves the Kubernetes API from a store.
type Server struct {
	cfg          Config
	codecs       serializer.CodecFactory
	rows         []*api.Resource
	cachers      map[string]*cacher // by prefix
	kinds        *kinds
	certificates certificates
	tokens       *signer
	numbers      serviceNumbers
	policy       *roleRules // nil with an authorizer of Config
	random       *random
	kubelets     *http.Transport
	pods         *http.Transport
	events       eventPruner
	usage        usage
	charges      charges

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	mu     sync.Mutex
	open   map[*context.CancelCauseFunc]struct{} // in-process requests
	closed bool
	work   sync.WaitGroup
}

var errClosed = errors.New("the API server is closed")

// New reads the store, makes the objects that every cluster has, and returns a
// server that is ready for requests. ctx bounds the start, not the server.
func New(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Store == nil {
		return nil, errors.New("an API server needs a store")
	}
	s := &Server{
		cfg: withDefaults(cfg), codecs: api.Codecs(), rows: api.Resources(), cachers: map[string]*cacher{},
		open: map[*context.CancelCauseFunc]struct{}{}, random: newRandom(cfg.Seed), kinds: newKinds(),
	}
	var err error
	if s.tokens, err = newSigner(cfg.TokenKey, cfg.Issuer); err != nil {
		return nil, err
	}
	s.numbers.given = map[string]*given{}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	s.kubelets, s.pods = s.kubeletTransport(), s.podTransport()
	if s.cfg.Authorize == nil {
		s.policy = newPolicy(s)
		s.cfg.Authorize = s.policy.authorize
	}
	for _, row := range s.rows {
		if !row.Stored() || s.cachers[row.Prefix] != nil {
			continue
		}
		c := &cacher{row: row, store: cfg.Store, log: s.cfg.Log, flights: map[string]chan struct{}{}}
		changes, err := c.start(s.ctx)
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("start API server: %w", err)
		}
		s.cachers[row.Prefix] = c
		s.work.Go(func() { c.run(s.ctx, changes) })
	}
	s.work.Go(func() { s.kinds.types() }) // so that the first write need not wait for it
	s.snapshot()
	if err := s.bootstrap(ctx); err != nil {
		s.Close()
		return nil, fmt.Errorf("make the first objects: %w", err)
	}
	return s, nil
}

func withDefaults(cfg Config) Config {
	if cfg.Now == nil {
		cfg.Now = time.Now //nolint:forbidigo // without a lab there is no other time
		if cfg.Lab != nil {
			cfg.Now = cfg.Lab.Clock.Now
		}
	}
	if !cfg.ServiceCIDR.IsValid() {
		cfg.ServiceCIDR = netip.MustParsePrefix("10.96.0.0/12")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.DialNode == nil {
		cfg.DialNode = (&net.Dialer{}).DialContext
	}
	if cfg.Version.GitVersion == "" {
		cfg.Version = defaultVersion()
	}
	return cfg
}

// Close ends all watches and other requests that are under way in process, and
// waits for every goroutine of the server. It does not close the store.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	for cancel := range s.open {
		(*cancel)(errClosed)
	}
	s.mu.Unlock()
	s.cancel()
	s.work.Wait()
	if s.kubelets != nil {
		s.kubelets.CloseIdleConnections()
		s.pods.CloseIdleConnections()
	}
}

// enter and leave count the in-process requests, so that Close can end them.
func (s *Server) enter(cancel *context.CancelCauseFunc) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.open[cancel] = struct{}{}
	s.work.Add(1)
	return true
}

func (s *Server) leave(cancel *context.CancelCauseFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, cancel)
	s.work.Done()
}

// snapshot tells a journal what the store had when the server started.
func (s *Server) snapshot() {
	if s.cfg.Lab == nil {
		return
	}
	done := map[string]bool{}
	for _, row := range s.rows {
		c := s.cachers[row.Prefix]
		if !row.Stored() || done[row.Prefix] {
			continue
		}
		done[row.Prefix] = true
		var entries []*entry
		c.each(func(e *entry) { entries = append(entries, e) })
		slices.SortFunc(entries, byKey)
		for _, e := range entries {
			s.cfg.Lab.Fact(step.Action{
				Actor: "etcd", Verb: step.Snapshot, Object: objectOf(row, e.obj),
				Detail: step.Lazy(func() any {
					d := s.commitDetail(row, nil, e.obj)
					if known, ok := d.(step.CommitDetail); ok {
						known.RV = e.rev
						return known
					}
					return d
				}),
			})
		}
	}
}
