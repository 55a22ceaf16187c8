package ingress

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"log"
	"math/big"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klab-project/klab/netlab/kube"
)

// Controller serves requests as the API's Ingresses want it, and tells the API
// where and with what trouble.
type Controller struct {
	API   *kube.Client
	Proxy *Proxy
	Log   *log.Logger
	// Publish is the controller's own Service, "namespace/name"; its load
	// balancer's addresses are where the Ingresses are. Without one it is NodeIP.
	Publish, NodeIP string
	// Leader is how one of several controllers is found that writes to the API;
	// nil: this is the only one.
	Leader *Leader

	ready atomic.Bool
	told  map[string]bool     // Events that were written and still hold
	at    map[string]*Ingress // by UID: those whose status has this controller's addresses
}

// Run serves HTTP, HTTPS and health until ctx ends.
func (c *Controller) Run(ctx context.Context, plain, secure, health net.Listener) error {
	c.told, c.at = map[string]bool{}, map[string]*Ingress{}
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !c.ready.Load() {
			http.Error(w, "the API's lists are not known yet", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	failed := make(chan error, 3)
	serve := func(h http.Handler, l net.Listener) *http.Server {
		s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ErrorLog: c.Log}
		go func() { failed <- s.Serve(l) }()
		return s
	}
	servers := []*http.Server{serve(c.Proxy, plain), serve(c.Proxy, tls.NewListener(secure, c.Proxy.TLS())), serve(mux, health)}
	following := make(chan struct{})
	go func() {
		defer close(following)
		c.write(ctx)
	}()
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	for _, s := range servers {
		_ = s.Shutdown(end) // what is under way ends first
	}
	if err == nil {
		<-following
	}
	return err
}

// write follows the API, serves by it, and, while it leads, writes what follows.
func (c *Controller) write(ctx context.Context) {
	snapshots, leads := make(chan Snapshot, 1), make(chan bool, 1)
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() {
		c.follow(ctx, func(s Snapshot) {
			c.Proxy.Use(NewTable(s))
			c.ready.Store(true)
			newest(snapshots, s)
		})
	})
	if c.Leader != nil {
		work.Go(func() {
			c.Leader.Run(ctx, func(now bool) { newest(leads, now) })
		})
	}
	var last *Snapshot
	leading := c.Leader == nil
	for {
		select {
		case <-ctx.Done():
			return
		case leading = <-leads:
			c.told = map[string]bool{} // others may have written meanwhile
		case s := <-snapshots:
			last = &s
		}
		if leading && last != nil {
			c.use(ctx, *last)
		}
	}
}

// newest puts v into a channel of one in the place of what nobody has looked at.
// There is one sender.
func newest[T any](to chan T, v T) {
	select {
	case <-to:
	default:
	}
	to <- v
}

// use writes what follows from a snapshot: where each Ingress is, and what is
// wrong with it. An Ingress that is no longer this controller's is nowhere.
func (c *Controller) use(ctx context.Context, s Snapshot) {
	t := NewTable(s)
	at := c.addresses(s)
	holds, ours := map[string]bool{}, map[string]*Ingress{}
	for _, ing := range t.Ours {
		ours[ing.Metadata.UID] = ing
		if !slices.Equal(ing.Status.LoadBalancer.Ingress, at) {
			c.publish(ctx, ing, at)
		}
		c.tell(ctx, holds, ing, "Normal", "Sync", "Scheduled for sync", fmt.Sprint(ing.Metadata.Generation))
	}
	for i := range s.Ingresses {
		ing := &s.Ingresses[i]
		if id := ing.Metadata.UID; ours[id] == nil && c.at[id] != nil && len(ing.Status.LoadBalancer.Ingress) > 0 {
			c.publish(ctx, ing, []Address{})
		}
	}
	for _, p := range t.Problems {
		c.tell(ctx, holds, p.Ingress, "Warning", p.Reason, p.Message, "")
	}
	c.told, c.at = holds, ours
}

// addresses are where Ingresses can be reached.
func (c *Controller) addresses(s Snapshot) []Address {
	for _, svc := range s.Services {
		if keyOf(svc.Metadata) == c.Publish && len(svc.Status.LoadBalancer.Ingress) > 0 {
			return svc.Status.LoadBalancer.Ingress
		}
	}
	if c.NodeIP == "" {
		return nil
	}
	return []Address{{IP: c.NodeIP}}
}

// publish writes an Ingress's status.
func (c *Controller) publish(ctx context.Context, ing *Ingress, at []Address) {
	path := fmt.Sprintf("/apis/networking.k8s.io/v1/namespaces/%s/ingresses/%s/status", ing.Metadata.Namespace, ing.Metadata.Name)
	body := map[string]any{"status": map[string]any{"loadBalancer": map[string]any{"ingress": at}}}
	if err := c.API.Do(ctx, http.MethodPatch, path, "application/merge-patch+json", body, nil); err != nil && ctx.Err() == nil {
		c.Log.Printf("status of Ingress %s: %v", keyOf(ing.Metadata), err)
	}
}

// tell writes an Event, once for as long as it holds.
func (c *Controller) tell(ctx context.Context, holds map[string]bool, ing *Ingress, kind, reason, message, about string) {
	key := fmt.Sprintln(ing.Metadata.UID, reason, message, about)
	if holds[key] {
		return
	}
	holds[key] = true
	if c.told[key] {
		return
	}
	now, ns := time.Now().UTC().Format(time.RFC3339), ing.Metadata.Namespace
	event := map[string]any{
		"metadata": map[string]any{"namespace": ns, "generateName": ing.Metadata.Name + "."},
		"involvedObject": map[string]any{
			"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "namespace": ns, "name": ing.Metadata.Name,
			"uid": ing.Metadata.UID, "resourceVersion": ing.Metadata.ResourceVersion,
		},
		"type": kind, "reason": reason, "message": message, "count": 1, "firstTimestamp": now, "lastTimestamp": now,
		"source": map[string]any{"component": "ingress-controller"}, "reportingComponent": "ingress-controller",
	}
	if err := c.API.Do(ctx, http.MethodPost, "/api/v1/namespaces/"+ns+"/events", "application/json", event, nil); err != nil && ctx.Err() == nil {
		c.Log.Printf("event of Ingress %s: %v", keyOf(ing.Metadata), err)
	}
}

// SelfSigned is a certificate for whoever asks for a name that no Secret has
// one for.
func SelfSigned() (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		return nil, err
	}
	like := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{Organization: []string{"klab"}, CommonName: "Ingress Controller Fake Certificate"},
		DNSNames: []string{"ingress.local"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, like, like, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
