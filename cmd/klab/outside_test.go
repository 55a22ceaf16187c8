package main_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/klab-project/klab/netlab/netns"
)

// outside asks from the client host outside of the cluster until the answer has
// a text: outside TEXT URL ADDR [CA]. The URL's host is at ADDR; the file CA is
// who signs for it.
func outside(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: outside TEXT URL ADDR [CA]")
	}
	dial := netns.Dialer(filepath.Join(ts.Getenv("KLAB_ROOT"), ts.Getenv("KLAB_CLUSTER"), "net", "outside"))
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) { return dial(ctx, network, args[2]) }}
	if len(args) > 3 {
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		transport.TLSClientConfig.RootCAs.AppendCertsFromPEM([]byte(ts.ReadFile(args[3])))
	}
	client := &http.Client{Transport: transport, Timeout: 5 * time.Second}
	var last string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		res, err := client.Get(args[1])
		if err != nil {
			last = err.Error()
			continue
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if last = fmt.Sprint(res.StatusCode, " ", string(body)); strings.Contains(last, args[0]) {
			return
		}
	}
	ts.Fatalf("%s did not answer %q; last was: %s", args[1], args[0], last)
}

// certificate writes a certificate that signs for itself: certificate CRT KEY HOST.
func certificate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: certificate CRT KEY HOST")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	like := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: args[2:], IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, like, like, &key.PublicKey, key)
	ts.Check(err)
	private, err := x509.MarshalECPrivateKey(key)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private}), 0o600))
}
