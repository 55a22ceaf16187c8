package controller

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// csrOf is what node-1's kubelet sends, with the usages that keys of its kind
// have.
func csrOf(t *testing.T, signer string, change ...func(*x509.CertificateRequest, *certificatesv1.CertificateSigningRequest)) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	usage := certificatesv1.UsageClientAuth
	request := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "system:node:node-1", Organization: []string{"system:nodes"}}}
	if signer == certificatesv1.KubeletServingSignerName {
		usage = certificatesv1.UsageServerAuth
		request.DNSNames, request.IPAddresses = []string{"node-1"}, []net.IP{net.IPv4(172, 30, 0, 11)}
	}
	r := &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: "csr-1", CreationTimestamp: metav1.NewTime(time.Unix(0, 0))},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			SignerName: signer, Usages: []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, usage},
			Username: "system:node:node-1", Groups: []string{"system:nodes", "system:authenticated"},
		},
	}
	for _, f := range change {
		f(request, r)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificateRequest(rand.Reader, request, key)
	require.NoError(t, err)
	r.Spec.Request = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	return r
}

func TestWhatKubeletsAskForIsRecognized(t *testing.T) {
	const client, serving = certificatesv1.KubeAPIServerClientKubeletSignerName, certificatesv1.KubeletServingSignerName
	type change = func(*x509.CertificateRequest, *certificatesv1.CertificateSigningRequest)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
		{Type: corev1.NodeHostName, Address: "node-1"}, {Type: corev1.NodeInternalIP, Address: "172.30.0.11"}}}}
	for name, c := range map[string]struct {
		signer       string
		change       change
		subresource  string
		foreign, err string
	}{
		"its own client certificate": {client, nil, "selfnodeclient", "", ""},
		"another node's": {client, func(x *x509.CertificateRequest, _ *certificatesv1.CertificateSigningRequest) {
			x.Subject.CommonName += "1"
		}, "nodeclient", "", ""},
		"a client's with a name in it": {client, func(x *x509.CertificateRequest, _ *certificatesv1.CertificateSigningRequest) {
			x.DNSNames = []string{"x"}
		}, "", "", "DNS subjectAltNames are not allowed"},
		"its own serving certificate": {serving, nil, "", "", ""},
		"one for a name of the API": {serving, func(x *x509.CertificateRequest, _ *certificatesv1.CertificateSigningRequest) {
			x.DNSNames = []string{"kubernetes"}
		}, "", "kubernetes", ""},
		"one for an address of another": {serving, func(x *x509.CertificateRequest, _ *certificatesv1.CertificateSigningRequest) {
			x.IPAddresses = []net.IP{net.IPv4(172, 30, 0, 12)}
		}, "", "172.30.0.12", ""},
		"a serving one for another node": {serving, func(_ *x509.CertificateRequest, r *certificatesv1.CertificateSigningRequest) { r.Spec.Username += "2" }, "", "", "system:node:node-12 asks for system:node:node-1"},
		"a person with a node's name":    {serving, func(_ *x509.CertificateRequest, r *certificatesv1.CertificateSigningRequest) { r.Spec.Groups = nil }, "", "", "asks for"},
	} {
		t.Run(name, func(t *testing.T) {
			var changes []change
			if c.change != nil {
				changes = append(changes, c.change)
			}
			got, err := recognize(csrOf(t, c.signer, changes...))
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.subresource, got.subresource)
			if c.signer == serving {
				require.Equal(t, "node-1", got.node)
				require.Equal(t, c.foreign, got.foreign(node))
			}
		})
	}
}

func TestSignersSignOnlyWhatTheirsAre(t *testing.T) {
	for _, signer := range []string{certificatesv1.KubeAPIServerClientKubeletSignerName, certificatesv1.KubeletServingSignerName, certificatesv1.KubeAPIServerClientSignerName} {
		if signer != certificatesv1.KubeletServingSignerName {
			known, err := signable(csrOf(t, signer))
			require.True(t, known)
			require.NoError(t, err, signer)
		}
		known, err := signable(csrOf(t, signer, func(_ *x509.CertificateRequest, r *certificatesv1.CertificateSigningRequest) {
			r.Spec.Usages = []certificatesv1.KeyUsage{certificatesv1.UsageCertSign}
		}))
		require.True(t, known)
		require.Error(t, err, signer)
	}
	known, err := signable(csrOf(t, "example.com/mine"))
	require.False(t, known)
	require.NoError(t, err)
}

func TestRequestsAreKeptForAnHourOrADay(t *testing.T) {
	r := csrOf(t, certificatesv1.KubeAPIServerClientSignerName)
	require.Equal(t, 24*time.Hour, outdated(r).Sub(r.CreationTimestamp.Time))
	r.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateApproved, LastUpdateTime: metav1.NewTime(time.Unix(3600, 0))}}
	require.Equal(t, 25*time.Hour, outdated(r).Sub(r.CreationTimestamp.Time))
	r.Status.Certificate = []byte("x")
	require.Equal(t, 2*time.Hour, outdated(r).Sub(r.CreationTimestamp.Time))
	r.Status.Certificate, r.Status.Conditions[0].Type = nil, certificatesv1.CertificateDenied
	require.Equal(t, 2*time.Hour, outdated(r).Sub(r.CreationTimestamp.Time))
}
