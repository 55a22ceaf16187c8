package kubelet

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

// Only the API server and administrators are let in.
func TestAuthorize(t *testing.T) {
	k := &Kubelet{Config: Config{ServeTLS: &tls.Config{}}}
	for _, c := range []struct {
		who  *pkix.Name
		want int
	}{
		{nil, http.StatusUnauthorized},
		{&pkix.Name{CommonName: "kube-apiserver"}, http.StatusOK},
		{&pkix.Name{CommonName: "kubernetes-admin", Organization: []string{"system:masters"}}, http.StatusOK},
		{&pkix.Name{CommonName: "system:node:node-2", Organization: []string{"system:nodes"}}, http.StatusForbidden},
	} {
		r := httptest.NewRequest(http.MethodGet, "/healthz", nil)
		r.TLS = &tls.ConnectionState{}
		if c.who != nil {
			r.TLS.PeerCertificates = []*x509.Certificate{{Subject: *c.who}}
		}
		w := httptest.NewRecorder()
		k.handler().ServeHTTP(w, r)
		require.Equal(t, c.want, w.Code)
	}
}
