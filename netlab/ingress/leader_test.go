package ingress_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/ingress"
	"github.com/klab-project/klab/netlab/kube"
)

// leases has one Lease, and refuses what is not of its last version.
type leases struct {
	mu      sync.Mutex
	version int
	object  map[string]any
	written time.Time
	early   []string // who took it before its time was over
}

const leaseLife = 2 * time.Second

// write keeps the Lease's next version.
func (l *leases) write(sent map[string]any) {
	l.version++
	sent["metadata"].(map[string]any)["resourceVersion"] = fmt.Sprint(l.version)
	if was, now := holder(l.object), holder(sent); was != "" && now != "" && was != now && time.Since(l.written) < leaseLife {
		l.early = append(l.early, now+" from "+was)
	}
	l.object, l.written = sent, time.Now()
}

func holder(lease map[string]any) string {
	spec, _ := lease["spec"].(map[string]any)
	name, _ := spec["holderIdentity"].(string)
	return name
}

func (l *leases) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var sent map[string]any
	if r.Method != http.MethodGet {
		if err := json.NewDecoder(r.Body).Decode(&sent); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	switch {
	case r.Method != http.MethodPost && l.object == nil:
		http.Error(w, `{"message": "leases not found"}`, http.StatusNotFound)
		return
	case r.Method == http.MethodPost && l.object != nil, r.Method == http.MethodPut && sent["metadata"].(map[string]any)["resourceVersion"] != fmt.Sprint(l.version):
		http.Error(w, `{"message": "the object has been modified"}`, http.StatusConflict)
		return
	case r.Method != http.MethodGet:
		l.write(sent)
	}
	_ = json.NewEncoder(w).Encode(l.object)
}

// candidate runs one; cut takes its way to the API from it.
func candidate(t *testing.T, url, name string) (leads *atomic.Bool, stop func(), cut *atomic.Bool) {
	t.Helper()
	leads, cut = &atomic.Bool{}, &atomic.Bool{}
	l := &ingress.Leader{
		API: &kube.Client{Base: url, HTTP: &http.Client{Transport: cutting{cut}}, Token: func() (string, error) { return "secret", nil }},
		Log: log.New(io.Discard, "", 0), Namespace: "kube-system", Name: "leader", Identity: name, Duration: leaseLife, Retry: 20 * time.Millisecond,
	}
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	work.Go(func() { l.Run(ctx, leads.Store) })
	stop = func() { cancel(); work.Wait() }
	t.Cleanup(stop)
	return leads, stop, cut
}

type cutting struct{ off *atomic.Bool }

func (c cutting) RoundTrip(r *http.Request) (*http.Response, error) {
	if c.off.Load() {
		return nil, fmt.Errorf("no way")
	}
	return http.DefaultTransport.RoundTrip(r)
}

// One candidate leads. When it ends, another does; when it is cut off, it stops,
// and another does too.
func TestOneLeads(t *testing.T) {
	api := &leases{}
	server := httptest.NewServer(api)
	defer server.Close()
	until := func(what string, f func() bool) {
		t.Helper()
		require.Eventually(t, f, time.Minute, time.Millisecond, what)
	}
	a, stopA, _ := candidate(t, server.URL, "a")
	until("a leads", a.Load)
	b, _, cutB := candidate(t, server.URL, "b")
	stopA()
	until("b leads, for a has given the Lease back", b.Load)
	c, _, _ := candidate(t, server.URL, "c")
	cutB.Store(true)
	until("b stops: it cannot say any more that it leads", func() bool { return !b.Load() })
	until("c leads", c.Load)
	cutB.Store(false)
	until("one of them leads", func() bool { return b.Load() != c.Load() })
	api.mu.Lock()
	defer api.mu.Unlock()
	require.Empty(t, api.early, "nobody takes what another one holds")
}
