package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/certificate"
	"k8s.io/klog/v2"                                                        //nolint:depguard // the manager of certificates takes its logger from a context
	certauthority "k8s.io/kubernetes/pkg/controller/certificates/authority" //nolint:depguard // no type: upstream's own way to sign

	"github.com/klab-project/klab/core/controller"
)

// signingDuration is how long certificates of nodes are good, as upstream.
const signingDuration = 365 * 24 * time.Hour

// shortestLife is the shortest that can be chosen.
const shortestLife = 10 * time.Second

// backdate is how long before its issue a certificate becomes valid: five
// minutes as upstream, or for a short life twice that life. Who replaces it
// counts from there, and so begins when 10 to 70 % of a short life are over: a
// node that stands still for a while has time to do it afterwards.
func backdate(life time.Duration) time.Duration { return min(5*time.Minute, 2*life) }

// signer signs requests for certificates as kube-controller-manager does: for
// life, or a shorter time that is asked for, though no less than ten minutes.
// It is all that the controllers get of the authority.
func (a *authority) signer(life time.Duration) controller.Sign {
	ca := &certauthority.CertificateAuthority{Certificate: a.cert, PrivateKey: a.key}
	return func(request []byte, usages []certificatesv1.KeyUsage, seconds *int32) ([]byte, error) {
		block, _ := pem.Decode(request)
		if block == nil {
			return nil, errors.New("the request has no PEM block")
		}
		ttl := life
		if seconds != nil {
			ttl = min(life, max(time.Duration(*seconds)*time.Second, 10*time.Minute))
		}
		der, err := ca.Sign(block.Bytes, certauthority.PermissiveSigningPolicy{TTL: ttl, Usages: usages, Backdate: backdate(ttl), Short: 8 * time.Hour})
		if err != nil {
			return nil, err
		}
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
	}
}

// certificates are a node's: the one by which it is known to the API server,
// and the one of its own API. They begin as what the cluster issued when the
// node started, and are replaced through the API when 70 to 90 % of their
// validity is over, by the machine's clock. The files are in the node's pki
// folder.
type certificates struct {
	issued          *tls.Certificate // good until there is another one
	client, serving certificate.Manager
	roots           *x509.CertPool
	api             kubernetes.Interface // set before start
}

// openCertificates reads what nodePKI wrote, and what came later.
func openCertificates(ctx context.Context, dir, node string, addr net.IP) (*certificates, error) {
	config, roots, err := nodeTLS(dir)
	if err != nil {
		return nil, err
	}
	c := &certificates{issued: &config.Certificates[0], roots: roots}
	subject := pkix.Name{CommonName: nodeUserPrefix + node, Organization: []string{nodesGroup}}
	ctx = klog.NewContext(ctx, klog.LoggerWithName(klog.Background(), "certificates"))
	open := func(name, signer string, template x509.CertificateRequest, usages func(any) []certificatesv1.KeyUsage) (certificate.Manager, error) {
		template.Subject = subject
		store, err := certificate.NewFileStore(name, dir, dir, filepath.Join(dir, "node.crt"), filepath.Join(dir, "node.key"))
		if err != nil {
			return nil, fmt.Errorf("certificates of %s: %w", name, err)
		}
		return certificate.NewManager(&certificate.Config{
			ClientsetFn: func(*tls.Certificate) (kubernetes.Interface, error) { return c.api, nil },
			Template:    &template, SignerName: signer, GetUsages: usages, CertificateStore: store, Ctx: &ctx,
		})
	}
	c.client, err = open("kubelet-client", certificatesv1.KubeAPIServerClientKubeletSignerName, x509.CertificateRequest{}, certificate.DefaultKubeletClientGetUsages)
	if err != nil {
		return nil, err
	}
	names := x509.CertificateRequest{DNSNames: []string{node}, IPAddresses: []net.IP{addr}}
	c.serving, err = open("kubelet-server", certificatesv1.KubeletServingSignerName, names, certificate.DefaultKubeletServingGetUsages)
	return c, err
}

// start begins to watch over the certificates, until the context of
// openCertificates ends.
func (c *certificates) start(api kubernetes.Interface) {
	c.api = api
	c.client.Start()
	c.serving.Start()
}

// now is the certificate of m, or the issued one if that has expired.
func (c *certificates) now(m certificate.Manager) *tls.Certificate {
	if cert := m.Current(); cert != nil {
		return cert
	}
	return c.issued
}

// clientTLS is for clients; each new connection has the newest certificate.
func (c *certificates) clientTLS() *tls.Config {
	return &tls.Config{
		RootCAs: c.roots, MinVersion: tls.VersionTLS12,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.now(c.client), nil },
	}
}

// servingTLS is for the node's own API.
func (c *certificates) servingTLS() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.now(c.serving), nil },
	}
}

// transport sends requests with the newest client certificate.
func (c *certificates) transport() http.RoundTripper { return &freshTransport{certificates: c} }

// freshTransport has other connections once there is another certificate. What
// goes on over the old ones, a watch for example, ends by itself: nothing is
// cut off.
type freshTransport struct {
	*certificates
	mu   sync.Mutex
	cert *tls.Certificate
	next *http.Transport
}

func (t *freshTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	return t.fresh().RoundTrip(r)
}

func (t *freshTransport) fresh() *http.Transport {
	t.mu.Lock()
	defer t.mu.Unlock()
	if cert := t.now(t.client); cert != t.cert {
		old := t.next
		t.cert = cert
		t.next = utilnet.SetTransportDefaults(&http.Transport{
			TLSClientConfig: t.clientTLS(), TLSHandshakeTimeout: 10 * time.Second, MaxIdleConnsPerHost: 25,
			DialContext: (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		})
		if old != nil {
			old.CloseIdleConnections()
		}
	}
	return t.next
}
