package apiserver_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/klab-project/klab/core/apiserver"
)

// authority signs certificates for a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{}
	a.cert, a.key, a.pem, _ = issue(t, nil, &x509.Certificate{Subject: pkix.Name{CommonName: "klab-ca"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// client is a client certificate.
func (a *authority) client(t testing.TB, user string, groups ...string) (certPEM, keyPEM []byte) {
	_, _, certPEM, keyPEM = issue(t, a, &x509.Certificate{Subject: pkix.Name{CommonName: user, Organization: groups}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return certPEM, keyPEM
}

// server is a server certificate for loopback.
func (a *authority) server(t testing.TB) tls.Certificate {
	_, _, certPEM, keyPEM := issue(t, a, &x509.Certificate{Subject: pkix.Name{CommonName: "server"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	require.NoError(t, err)
	return pair
}

func issue(t testing.TB, by *authority, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey, []byte, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, parentKey := template, key
	if by != nil {
		parent, parentKey = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	return cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
}

// served is a lab that serves TLS on loopback, with HTTP/2.
type served struct {
	*lab
	ca   *authority
	http *httptest.Server
}

func serve(t testing.TB, change ...func(*apiserver.Config)) *served {
	t.Helper()
	s := &served{ca: newAuthority(t)}
	s.lab = newLab(t, append(change, func(cfg *apiserver.Config) {
		cfg.ClientCA, cfg.Authorize = s.ca.pool(), nil
		cfg.ServiceIP, cfg.Endpoint = netip.MustParseAddr("10.96.0.1"), netip.MustParseAddrPort("172.30.0.2:6443")
	})...)
	s.http = httptest.NewUnstartedServer(s.lab.server.Handler())
	s.http.EnableHTTP2 = true
	s.http.TLS = &tls.Config{Certificates: []tls.Certificate{s.ca.server(t)}, ClientAuth: tls.RequestClientCert}
	s.http.StartTLS()
	t.Cleanup(func() {
		s.http.CloseClientConnections()
		s.http.Close()
	})
	return s
}

// as is the configuration of a client with a certificate.
func (s *served) as(t testing.TB, agent, user string, groups ...string) *rest.Config {
	cert, key := s.ca.client(t, user, groups...)
	return &rest.Config{Host: s.http.URL, UserAgent: agent, QPS: -1, TLSClientConfig: rest.TLSClientConfig{CAData: s.ca.pem, CertData: cert, KeyData: key}}
}

func TestIdentities(t *testing.T) {
	s := serve(t)
	ctx := t.Context()
	pods := func(cfg *rest.Config) error {
		_, err := client(t, cfg).CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
		return err
	}
	require.NoError(t, pods(s.as(t, "kubectl", "kubernetes-admin", "system:masters")))
	require.NoError(t, pods(s.as(t, "deployment-controller", "system:kube-controller-manager")))
	require.NoError(t, pods(s.as(t, "kubelet", "system:node:node-1", "system:nodes")))
	err := pods(s.as(t, "kubectl", "jane"))
	require.EqualError(t, err, `pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default"`)
	nobody := &rest.Config{Host: s.http.URL, TLSClientConfig: rest.TLSClientConfig{CAData: s.ca.pem}}
	err = pods(nobody)
	require.True(t, apierrors.IsForbidden(err))
	require.ErrorContains(t, err, `User "system:anonymous" cannot list resource "pods"`)
	stranger := s.as(t, "kubectl", "kubernetes-admin", "system:masters")
	stranger.CertData, stranger.KeyData = newAuthority(t).client(t, "kubernetes-admin", "system:masters")
	require.True(t, apierrors.IsUnauthorized(pods(stranger)))
	// A header claims nothing.
	forged := &rest.Config{Host: s.http.URL, BearerToken: "x", TLSClientConfig: rest.TLSClientConfig{CAData: s.ca.pem}}
	require.True(t, apierrors.IsUnauthorized(pods(forged)))

	healthy, err := client(t, nobody).Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
	require.NoError(t, err)
	require.Equal(t, "ok", string(healthy))
	version, err := client(t, nobody).Discovery().ServerVersion()
	require.NoError(t, err)
	require.Equal(t, "v1.37.1", version.GitVersion)
}

func TestAKubeletTouchesOnlyItsOwn(t *testing.T) {
	s := serve(t)
	ctx := t.Context()
	kubelet := client(t, s.as(t, "kubelet", "system:node:node-1", "system:nodes"))
	admin := s.admin(t)
	_, err := kubelet.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = kubelet.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-2"}}, metav1.CreateOptions{})
	require.True(t, apierrors.IsForbidden(err))
	for _, node := range []string{"node-1", "node-2"} {
		pod := newPod("on-" + node)
		pod.Spec.NodeName = node
		pod, err = admin.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{})
		require.NoError(t, err)
		pod.Status.Phase = corev1.PodRunning
		_, err = kubelet.CoreV1().Pods("default").UpdateStatus(ctx, pod, metav1.UpdateOptions{})
		require.Equal(t, node != "node-1", apierrors.IsForbidden(err), err)
	}
	_, err = kubelet.CoreV1().ConfigMaps("default").Create(ctx, configMap("m", "1"), metav1.CreateOptions{})
	require.True(t, apierrors.IsForbidden(err))
}

// kubectl runs the kubectl of this machine.
func (s *served) kubectl(t testing.TB) func(stdin string, args ...string) (string, error) {
	t.Helper()
	path := os.Getenv("KLAB_TEST_KUBECTL")
	if path == "" {
		var err error
		if path, err = exec.LookPath("kubectl"); err != nil {
			t.Skip("no kubectl on this machine")
		}
	}
	cert, key := s.ca.client(t, "kubernetes-admin", "system:masters")
	kubeconfig := filepath.Join(t.TempDir(), "config")
	require.NoError(t, clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"c": {Server: s.http.URL, CertificateAuthorityData: s.ca.pem}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"u": {ClientCertificateData: cert, ClientKeyData: key}},
		Contexts:       map[string]*clientcmdapi.Context{"x": {Cluster: "c", AuthInfo: "u"}},
		CurrentContext: "x",
	}, kubeconfig))
	home := t.TempDir()
	return func(stdin string, args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), path, args...)
		cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "HOME="+home)
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
}

const manifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: %d
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: "klab.local/tools:1"}]}
`

func TestKubectl(t *testing.T) {
	s := serve(t)
	kubectl := s.kubectl(t)
	ok := func(stdin string, args ...string) string {
		t.Helper()
		out, err := kubectl(stdin, args...)
		require.NoError(t, err, out)
		return out
	}
	web := fmt.Sprintf(manifest, 1)
	require.Equal(t, "deployment.apps/web created\n", ok(web, "apply", "-f", "-"))
	require.Equal(t, "deployment.apps/web unchanged\n", ok(web, "apply", "-f", "-"))
	require.Equal(t, "deployment.apps/web configured\n", ok(fmt.Sprintf(manifest, 2), "apply", "-f", "-"))
	require.Equal(t, "deployment.apps/web serverside-applied\n", ok(fmt.Sprintf(manifest, 2), "apply", "--server-side", "-f", "-"))
	out, err := kubectl(fmt.Sprintf(manifest, 3), "apply", "--server-side", "--field-manager=other", "-f", "-")
	require.Error(t, err)
	require.Contains(t, out, `conflict with "kubectl": .spec.replicas`)
	require.Equal(t, "deployment.apps/web serverside-applied\n", ok(fmt.Sprintf(manifest, 3), "apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", "-"))
	require.Contains(t, ok("", "get", "deploy", "-o", "wide"), "klab.local/tools:1")
	require.Contains(t, ok("", "get", "all", "-A"), "service/kubernetes")
	require.Contains(t, ok("", "describe", "deploy", "web"), "3 desired")
	require.Contains(t, ok("", "describe", "svc", "kubernetes"), "172.30.0.2:6443")
	require.Contains(t, ok("", "get", "deploy", "web", "-o", "yaml"), "replicas: 3")
	require.Equal(t, "deployment.apps/web scaled\n", ok("", "scale", "deploy", "web", "--replicas=4"))
	require.Equal(t, "deployment.apps/web condition met\n", ok("", "wait", "deploy/web", "--for=jsonpath={.spec.replicas}=4", "--timeout=5s"))
	require.Contains(t, ok("", "api-resources"), "deployments")
	require.Contains(t, ok("", "version"), "Server Version: v1.37.1")
	require.Contains(t, ok("", "explain", "deployment.spec.replicas"), "Number of desired pods")
	require.Equal(t, "configmap/m created\n", ok("", "create", "configmap", "m", "--from-literal=a=b"))
	require.Equal(t, "configmap/m labeled\n", ok("", "label", "configmap", "m", "x=y"))
	require.Equal(t, "pod/p created\n", ok("", "run", "p", "--image=klab.local/tools:1"))
	require.Equal(t, "yes\n", ok("", "auth", "can-i", "create", "pods"))
	require.Contains(t, ok("", "auth", "whoami"), "kubernetes-admin")
	require.Equal(t, "configmap \"m\" deleted", strings.Split(ok("", "delete", "configmap", "m"), " from")[0][:len("configmap \"m\" deleted")])
	require.Contains(t, ok("", "delete", "pod", "p", "--now"), "deleted")
	require.Contains(t, ok("", "delete", "deploy", "web", "--cascade=background"), "deleted")

	out, err = kubectl("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndada: {}\n", "apply", "-f", "-")
	require.Error(t, err)
	require.Contains(t, out, `unknown field "dada"`)
	out, err = kubectl("", "get", "pod", "nothing")
	require.Error(t, err)
	require.Equal(t, "Error from server (NotFound): pods \"nothing\" not found\n", out)
	out, err = kubectl("", "get", "nonsense")
	require.Error(t, err)
	require.Equal(t, "error: the server doesn't have a resource type \"nonsense\"\n", out)
}

func TestPlainHTTP(t *testing.T) {
	s := serve(t)
	transport := s.http.Client().Transport.(*http.Transport)
	for _, path := range []string{"/api", "/apis", "/apis/apps/v1", "/api/v1/pods", "/"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.http.URL+path, nil)
		require.NoError(t, err)
		answer, err := transport.RoundTrip(req)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.Equal(t, http.StatusForbidden, answer.StatusCode)
	}
}
