package ingress

import (
	"bytes"
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
	"time"
)

// Kube is the API, as a pod with a ServiceAccount has it: a client of a few
// lines, for the sake of the image's size.
type Kube struct {
	Base  string // "https://10.96.0.1:443"
	HTTP  *http.Client
	Token func() (string, error) // asked again and again: it is replaced before it expires
	Log   *log.Logger

	mu      sync.Mutex
	objects map[string]map[string]json.RawMessage // by path and key; of paths that have been listed
	changed chan struct{}
}

// accountDir is where a pod finds its ServiceAccount.
const accountDir = "/var/run/secrets/kubernetes.io/serviceaccount"

// InCluster is the API for a pod.
func InCluster(logger *log.Logger) (*Kube, error) {
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return nil, errors.New("this is no pod: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set")
	}
	ca, err := os.ReadFile(filepath.Join(accountDir, "ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("the API's certificate authority: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return &Kube{
		Base: "https://" + net.JoinHostPort(host, port), Log: logger,
		HTTP: &http.Client{Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, TLSHandshakeTimeout: 10 * time.Second,
			DialContext:           (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 10 * time.Second}).DialContext,
			ResponseHeaderTimeout: 30 * time.Second,
		}},
		Token: func() (string, error) {
			text, err := os.ReadFile(filepath.Join(accountDir, "token"))
			return strings.TrimSpace(string(text)), err
		},
	}, nil
}

// The lists that a table follows from.
const (
	ingressesPath = "/apis/networking.k8s.io/v1/ingresses"
	classesPath   = "/apis/networking.k8s.io/v1/ingressclasses"
	servicesPath  = "/api/v1/services"
	slicesPath    = "/apis/discovery.k8s.io/v1/endpointslices"
	secretsPath   = "/api/v1/secrets?fieldSelector=type%3Dkubernetes.io%2Ftls"
)

func watched() []string {
	return []string{ingressesPath, classesPath, servicesPath, slicesPath, secretsPath}
}

// Follow lists and watches everything until ctx ends. After each change, once
// all lists are known, it calls f with what there is; never twice at a time.
func (k *Kube) Follow(ctx context.Context, f func(Snapshot)) {
	k.objects, k.changed = map[string]map[string]json.RawMessage{}, make(chan struct{}, 1)
	var work sync.WaitGroup
	defer work.Wait()
	for _, path := range watched() {
		work.Go(func() { k.follow(ctx, path) })
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.changed:
			if s, ok := k.snapshot(); ok {
				f(s)
			}
		}
	}
}

func (k *Kube) snapshot() (s Snapshot, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.objects) < len(watched()) {
		return s, false
	}
	return Snapshot{
		Ingresses: decode[Ingress](k, ingressesPath), Classes: decode[Class](k, classesPath), Services: decode[Service](k, servicesPath),
		Slices: decode[Slice](k, slicesPath), Secrets: decode[Secret](k, secretsPath),
	}, true
}

func decode[T any](k *Kube, path string) (list []T) {
	for key, raw := range k.objects[path] {
		var o T
		if err := json.Unmarshal(raw, &o); err != nil {
			k.Log.Printf("%s of %s cannot be read: %v", key, path, err)
			continue
		}
		list = append(list, o)
	}
	return list
}

// errExpired is the answer to a version that the API no longer has.
var errExpired = errors.New("the version is too old")

// follow lists and watches one path, over and over.
func (k *Kube) follow(ctx context.Context, path string) {
	const first, most = 100 * time.Millisecond, 10 * time.Second
	for pause := first; ctx.Err() == nil; pause = min(2*pause, most) {
		version, err := k.list(ctx, path)
		if err == nil {
			pause = first
			err = k.watch(ctx, path, version)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil && !errors.Is(err, errExpired) {
			k.Log.Printf("watch %s: %v", path, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

func (k *Kube) list(ctx context.Context, path string) (version string, err error) {
	var list struct {
		Metadata Meta
		Items    []json.RawMessage
	}
	if err := k.Do(ctx, http.MethodGet, with(path, "resourceVersion=0"), "", nil, &list); err != nil {
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
	k.objects[path] = all
	k.mu.Unlock()
	k.wake()
	return list.Metadata.ResourceVersion, nil
}

func with(path, query string) string {
	if strings.Contains(path, "?") {
		return path + "&" + query
	}
	return path + "?" + query
}

func identify(item json.RawMessage) (key, version string, err error) {
	var o struct{ Metadata Meta }
	err = json.Unmarshal(item, &o)
	return keyOf(o.Metadata), o.Metadata.ResourceVersion, err
}

// watch applies changes until the API ends the connection twice without any.
func (k *Kube) watch(ctx context.Context, path, version string) error {
	for {
		res, err := k.open(ctx, http.MethodGet, with(path, "watch=true&allowWatchBookmarks=true&resourceVersion="+url.QueryEscape(version)), "", nil)
		if err != nil {
			return err
		}
		began := version
		version, err = k.read(path, res.Body, version)
		res.Body.Close()
		if err != nil || version == began {
			return err
		}
	}
}

func (k *Kube) read(path string, body io.Reader, version string) (string, error) {
	for events := json.NewDecoder(body); ; {
		var e struct {
			Type   string
			Object json.RawMessage
		}
		if err := events.Decode(&e); err != nil {
			return version, nil // the connection's end
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
			k.objects[path][key] = e.Object
		case "DELETED":
			delete(k.objects[path], key)
		}
		k.mu.Unlock()
		if e.Type != "BOOKMARK" {
			k.wake()
		}
	}
}

func (k *Kube) wake() {
	select {
	case k.changed <- struct{}{}:
	default: // what is about to be looked at has it
	}
}

// Do sends a request and decodes its answer, unless that is nil.
func (k *Kube) Do(ctx context.Context, method, path, mediaType string, body, answer any) error {
	res, err := k.open(ctx, method, path, mediaType, body)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if answer == nil {
		_, err = io.Copy(io.Discard, res.Body)
		return err
	}
	return json.NewDecoder(res.Body).Decode(answer)
}

// open sends a request; an answer that is no success is an error in the API's
// words.
func (k *Kube) open(ctx context.Context, method, path, mediaType string, body any) (*http.Response, error) {
	var data []byte
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, k.Base+path, bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	token, err := k.Token()
	if err != nil {
		return nil, fmt.Errorf("the ServiceAccount's token: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("User-Agent", "ingress-controller/klab")
	req.Header.Set("Accept", "application/json")
	if mediaType != "" {
		req.Header.Set("Content-Type", mediaType)
	}
	res, err := k.HTTP.Do(req)
	if err != nil || res.StatusCode < 300 {
		return res, err
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusGone {
		return nil, errExpired
	}
	var status struct{ Message string }
	text, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if json.Unmarshal(text, &status) != nil || status.Message == "" {
		status.Message = strings.TrimSpace(string(text))
	}
	return nil, fmt.Errorf("%s: %s", res.Status, status.Message)
}
