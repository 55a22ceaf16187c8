package dns_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/dns"
	"github.com/klab-project/klab/netlab/kube"
)

// api is as much of an API server as a Kube needs: lists, and watches that the
// test writes to.
type api struct {
	mu        sync.Mutex
	items     map[string]string // path → the list's items
	watches   map[string]chan string
	forbidden string // a path
	asked     []string
	tokens    map[string]bool
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	watching := r.FormValue("watch") == "true"
	a.asked = append(a.asked, r.URL.Path+"?"+r.URL.RawQuery)
	a.tokens[r.Header.Get("Authorization")] = true
	items, forbidden, events := a.items[r.URL.Path], r.URL.Path == a.forbidden, a.watches[r.URL.Path]
	a.mu.Unlock()
	switch {
	case forbidden:
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"kind":"Status","message":"it is forbidden"}`)
	case !watching:
		fmt.Fprintf(w, `{"metadata":{"resourceVersion":"10"},"items":[%s]}`, items)
	default:
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		for {
			select {
			case e := <-events:
				if e == "end" {
					return
				}
				fmt.Fprintln(w, e)
				w.(http.Flusher).Flush()
			case <-r.Context().Done():
				return
			}
		}
	}
}

func (a *api) requests(part string) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, q := range a.asked {
		if strings.Contains(q, part) {
			n++
		}
	}
	return n
}

const (
	namespacesPath = "/api/v1/namespaces"
	servicesPath   = "/api/v1/services"
	slicesPath     = "/apis/discovery.k8s.io/v1/endpointslices"
	podsPath       = "/api/v1/pods"
)

func newAPI(t *testing.T) (*api, *dns.Kube, *output) {
	t.Helper()
	a := &api{items: map[string]string{}, watches: map[string]chan string{}, tokens: map[string]bool{}}
	for _, path := range []string{namespacesPath, servicesPath, slicesPath, podsPath} {
		a.watches[path] = make(chan string, 10)
	}
	a.items[namespacesPath] = `{"metadata":{"name":"shop"}}`
	a.items[servicesPath] = `{"metadata":{"namespace":"shop","name":"web","resourceVersion":"5"},"spec":{"clusterIP":"10.96.7.1"}}`
	srv, out := httptest.NewServer(a), &output{}
	t.Cleanup(srv.Close)
	k := dns.NewKube(&kube.Client{Base: srv.URL, HTTP: srv.Client(), Token: func() (string, error) { return "secret", nil }}, log.New(out, "", 0))
	return a, k, out
}

func run(t *testing.T, k *dns.Kube) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { k.Run(ctx); close(done) }()
	t.Cleanup(func() { stop(); <-done })
}

// addresses waits until a name has these, separated by spaces.
func addresses(t *testing.T, k *dns.Kube, name, want string) {
	t.Helper()
	require.Eventually(t, func() bool {
		x := k.Index()
		if x == nil {
			return false
		}
		var got []string
		for _, rr := range (&dns.Zone{Names: []string{"cluster.local."}, Pods: dns.PodsVerified}).Answer(x, name, mdns.TypeA).Records {
			got = append(got, rr.(*mdns.A).A.String())
		}
		return strings.Join(got, " ") == want
	}, time.Minute, time.Millisecond, "%s is not %q", name, want)
}

const web = "web.shop.svc.cluster.local."

func TestKubeListsAndWatches(t *testing.T) {
	a, k, _ := newAPI(t)
	run(t, k)
	addresses(t, k, web, "10.96.7.1")
	a.mu.Lock()
	require.True(t, a.tokens["Bearer secret"])
	a.mu.Unlock()
	services := a.watches[servicesPath]
	services <- `{"type":"MODIFIED","object":{"metadata":{"namespace":"shop","name":"web","resourceVersion":"11"},"spec":{"clusterIP":"10.96.7.2"}}}`
	addresses(t, k, web, "10.96.7.2")
	services <- `{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"15"}}}`

	// A connection that ends is followed by another one, from where it was.
	services <- "end"
	require.Eventually(t, func() bool {
		return a.requests(servicesPath+"?allowWatchBookmarks=true&resourceVersion=15&watch=true") == 1
	}, time.Minute, time.Millisecond)
	services <- `{"type":"DELETED","object":{"metadata":{"namespace":"shop","name":"web","resourceVersion":"16"},"spec":{"clusterIP":"10.96.7.2"}}}`
	addresses(t, k, web, "")

	// A version that is too old is followed by a list.
	lists := a.requests(servicesPath + "?resourceVersion=0")
	services <- `{"type":"ERROR","object":{"kind":"Status","code":410}}`
	require.Eventually(t, func() bool { return a.requests(servicesPath+"?resourceVersion=0") == lists+1 }, time.Minute, time.Millisecond)
	addresses(t, k, web, "10.96.7.1")
}

func TestKubeIsNotReadyWithoutPermission(t *testing.T) {
	a, k, out := newAPI(t)
	a.forbidden = slicesPath
	run(t, k)
	require.Eventually(t, func() bool {
		return strings.Contains(out.String(), "[ERROR] plugin/kubernetes: Failed to watch *v1.EndpointSlice: 403 Forbidden: it is forbidden")
	}, time.Minute, time.Millisecond)
	require.Nil(t, k.Index())
	a.mu.Lock()
	a.forbidden = ""
	a.mu.Unlock()
	addresses(t, k, web, "10.96.7.1")
}

func TestKubeWatchesPodsWhenTheyAreWanted(t *testing.T) {
	a, k, _ := newAPI(t)
	a.items[podsPath] = `{"metadata":{"namespace":"shop","name":"p"},"status":{"podIPs":[{"ip":"10.244.1.5"}]}}`
	run(t, k)
	addresses(t, k, web, "10.96.7.1")
	require.Zero(t, a.requests(podsPath))
	k.WantPods()
	k.WantPods()
	addresses(t, k, "10-244-1-5.shop.pod.cluster.local.", "10.244.1.5")
	require.Equal(t, 1, a.requests(podsPath+"?resourceVersion=0"))
}
