package dns

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Kube is a Source that lists and watches the API. It is a client of a few
// lines, for the sake of the image's size.
type Kube struct {
	base   string // "https://10.96.0.1:443"
	http   *http.Client
	token  func() (string, error) // read again and again: it is replaced before it expires
	log    *log.Logger
	serial uint32

	mu    sync.Mutex
	objs  map[string]map[string]json.RawMessage
	known map[string]bool // the resources that have been listed
	index atomic.Pointer[Index]
	dirty chan struct{}

	pods     atomic.Bool
	morePods chan struct{}
}

// NewKube is a Kube for the API at base.
func NewKube(base string, client *http.Client, token func() (string, error), log *log.Logger) *Kube {
	return &Kube{
		base: base, http: client, token: token, log: log, morePods: make(chan struct{}, 1), dirty: make(chan struct{}, 1),
		objs: map[string]map[string]json.RawMessage{}, known: map[string]bool{},
	}
}

// accountDir is where a pod finds its ServiceAccount.
const accountDir = "/var/run/secrets/kubernetes.io/serviceaccount"

// InCluster is a Kube for a pod. ("Accessing the Kubernetes API from a Pod".)
func InCluster(log *log.Logger) (*Kube, error) {
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return nil, errors.New("unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined")
	}
	ca, err := os.ReadFile(filepath.Join(accountDir, "ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("the API's certificate authority: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, TLSHandshakeTimeout: 10 * time.Second,
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 10 * time.Second}).DialContext,
		ResponseHeaderTimeout: 30 * time.Second,
	}}
	token := func() (string, error) {
		text, err := os.ReadFile(filepath.Join(accountDir, "token"))
		return strings.TrimSpace(string(text)), err
	}
	return NewKube("https://"+net.JoinHostPort(host, port), client, token, log), nil
}

// resource is a list of the API.
type resource struct{ name, path string }

func (k *Kube) resources() []resource {
	list := []resource{
		{"Namespace", "/api/v1/namespaces"}, {"Service", "/api/v1/services"},
		{"EndpointSlice", "/apis/discovery.k8s.io/v1/endpointslices"},
	}
	if k.pods.Load() {
		list = append(list, resource{"Pod", "/api/v1/pods"})
	}
	return list
}

// WantPods makes it watch pods too, from now on.
func (k *Kube) WantPods() {
	if k.pods.CompareAndSwap(false, true) {
		k.morePods <- struct{}{}
	}
}

// Index is what is known, or nil as long as not everything has been listed.
func (k *Kube) Index() *Index { return k.index.Load() }

// Run lists and watches until ctx ends.
func (k *Kube) Run(ctx context.Context) {
	var work sync.WaitGroup
	for _, r := range k.resources()[:3] {
		work.Go(func() { k.follow(ctx, r) })
	}
	for {
		select {
		case <-ctx.Done():
			work.Wait()
			return
		case <-k.morePods:
			work.Go(func() { k.follow(ctx, k.resources()[3]) })
		case <-k.dirty:
			k.rebuild()
		}
	}
}

// The pauses after a failure.
const (
	firstPause = 100 * time.Millisecond
	mostPause  = 10 * time.Second
)

// follow lists and watches one resource, over and over.
func (k *Kube) follow(ctx context.Context, r resource) {
	pause := firstPause
	for ctx.Err() == nil {
		version, err := k.list(ctx, r)
		if err == nil {
			pause = firstPause
			err = k.watch(ctx, r, version)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil && !errors.Is(err, errExpired) {
			k.log.Printf("[ERROR] plugin/kubernetes: Failed to watch *v1.%s: %v", r.name, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, mostPause)
	}
}

// get opens a request; a status that is not 200 is an error with the API's words.
func (k *Kube) get(ctx context.Context, path string, query url.Values) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.base+path+"?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "coredns/klab")
	req.Header.Set("Accept", "application/json")
	token, err := k.token()
	if err != nil {
		return nil, fmt.Errorf("the ServiceAccount's token: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := k.http.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode == http.StatusOK {
		return res, nil
	}
	defer res.Body.Close()
	return nil, statusError(res)
}

// errExpired is the answer to a version that the API no longer has.
var errExpired = errors.New("the version is too old")

func statusError(res *http.Response) error {
	var status struct {
		Message string `json:"message"`
	}
	text, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if res.StatusCode == http.StatusGone {
		return errExpired
	}
	if json.Unmarshal(text, &status) != nil || status.Message == "" {
		status.Message = strings.TrimSpace(string(text))
	}
	return fmt.Errorf("%s: %s", res.Status, status.Message)
}

func (k *Kube) list(ctx context.Context, r resource) (version string, err error) {
	res, err := k.get(ctx, r.path, url.Values{"resourceVersion": {"0"}})
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	var list struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
		Items []json.RawMessage `json:"items"`
	}
	if err := json.NewDecoder(res.Body).Decode(&list); err != nil {
		return "", err
	}
	all := map[string]json.RawMessage{}
	for _, item := range list.Items {
		key, _, err := identify(item)
		if err != nil {
			return "", err
		}
		all[key] = item
	}
	k.mu.Lock()
	k.objs[r.name], k.known[r.name] = all, true
	k.mu.Unlock()
	k.changed()
	return list.Metadata.ResourceVersion, nil
}

func identify(item json.RawMessage) (key, version string, err error) {
	var o struct {
		Metadata struct {
			Namespace, Name, ResourceVersion string
		} `json:"metadata"`
	}
	err = json.Unmarshal(item, &o)
	return o.Metadata.Namespace + "/" + o.Metadata.Name, o.Metadata.ResourceVersion, err
}

// watch applies changes until the connection ends, and goes on with another one
// where it was.
func (k *Kube) watch(ctx context.Context, r resource, version string) error {
	for {
		res, err := k.get(ctx, r.path, url.Values{"watch": {"true"}, "allowWatchBookmarks": {"true"}, "resourceVersion": {version}})
		if err != nil {
			return err
		}
		began := version
		version, err = k.read(r, res.Body, version)
		res.Body.Close()
		if errors.Is(err, errExpired) || version == began {
			return err // also a connection that ended at once: with a pause, and a list
		}
	}
}

// read applies a watch's events; its end is no error.
func (k *Kube) read(r resource, body io.Reader, version string) (string, error) {
	for events := json.NewDecoder(body); ; {
		var e struct {
			Type   string          `json:"type"`
			Object json.RawMessage `json:"object"`
		}
		if err := events.Decode(&e); err != nil {
			return version, nil
		}
		if e.Type == "ERROR" {
			return version, errExpired
		}
		key, now, err := identify(e.Object)
		if err != nil {
			return version, err
		}
		version = now
		k.mu.Lock()
		switch e.Type {
		case "ADDED", "MODIFIED":
			k.objs[r.name][key] = e.Object
		case "DELETED":
			delete(k.objs[r.name], key)
		}
		k.mu.Unlock()
		if e.Type != "BOOKMARK" {
			k.changed()
		}
	}
}

func (k *Kube) changed() {
	select {
	case k.dirty <- struct{}{}:
	default: // the next rebuild sees it as well
	}
}
