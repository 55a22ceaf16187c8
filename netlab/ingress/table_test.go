package ingress_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/klab-project/klab/netlab/ingress"
)

// from reads an object as YAML.
func from[T any](t *testing.T, text string) (o T) {
	t.Helper()
	data, err := yaml.YAMLToJSON([]byte(text))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &o))
	return o
}

// shop is a class, three Services and the Ingresses given.
func shop(t *testing.T, ingresses ...string) ingress.Snapshot {
	t.Helper()
	s := ingress.Snapshot{Classes: []ingress.Class{
		from[ingress.Class](t, `{metadata: {name: klab}, spec: {controller: klab.local/ingress}}`),
		from[ingress.Class](t, `{metadata: {name: other}, spec: {controller: example.com/other}}`),
	}}
	for _, name := range []string{"web", "cart", "api"} {
		s.Services = append(s.Services, from[ingress.Service](t, `{metadata: {namespace: default, name: `+name+`}, spec: {ports: [{name: http, port: 80}]}}`))
		s.Slices = append(s.Slices, from[ingress.Slice](t, `
metadata: {namespace: default, name: `+name+`-1, labels: {kubernetes.io/service-name: `+name+`}}
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [`+name+`], conditions: {ready: true}}
- {addresses: [`+name+`-not-ready], conditions: {ready: false}}`))
	}
	for _, text := range ingresses {
		s.Ingresses = append(s.Ingresses, from[ingress.Ingress](t, text))
	}
	return s
}

func backend(name string) string {
	return `backend: {service: {name: ` + name + `, port: {name: http}}}`
}

func path(path, kind, to string) string {
	return `{path: ` + path + `, pathType: ` + kind + `, ` + backend(to) + `}`
}

func TestHostsAndPaths(t *testing.T) {
	table := ingress.NewTable(shop(t, `
metadata: {namespace: default, name: shop, creationTimestamp: "2026-01-01T00:00:00Z"}
spec:
  ingressClassName: klab
  rules:
  - host: shop.example
    http: {paths: [`+path("/", "Prefix", "web")+`, `+path("/cart", "Prefix", "cart")+`, `+path("/cart", "Exact", "api")+`, `+path("/a/b/", "Prefix", "api")+`]}
  - host: "*.shop.example"
    http: {paths: [`+path("/wild", "ImplementationSpecific", "api")+`]}
  - http: {paths: [`+path("/any", "Exact", "cart")+`]}
`, `
metadata: {namespace: default, name: younger, creationTimestamp: "2026-02-01T00:00:00Z"}
spec: {ingressClassName: klab, rules: [{host: shop.example, http: {paths: [`+path("/cart", "Prefix", "web")+`]}}]}
`, `
metadata: {namespace: default, name: rest}
spec: {ingressClassName: klab, defaultBackend: {service: {name: api, port: {number: 80}}}}
`, `
metadata: {namespace: default, name: theirs}
spec: {ingressClassName: other, rules: [{host: theirs.example, http: {paths: [`+path("/", "Prefix", "web")+`]}}]}
`))
	for _, c := range []struct{ host, path, service string }{
		{"shop.example", "/", "web"},
		{"SHOP.example:8443", "/index.html", "web"},
		{"shop.example", "/cart", "api"},       // Exact before Prefix
		{"shop.example", "/cart/", "cart"},     // and only itself
		{"shop.example", "/cart/7", "cart"},    // the older Ingress
		{"shop.example", "/cartoon", "web"},    // by elements
		{"shop.example", "/a/b", "api"},        // a slash at the end does not count
		{"www.shop.example", "/wild/1", "api"}, // ImplementationSpecific is Prefix
		{"www.shop.example", "/any", "api"},    // a wildcard's host is not every host's: the default backend
		{"a.b.shop.example", "/wild", "api"},   // a wildcard is one label: the default backend
		{"else.example", "/any", "cart"},       // every host
		{"else.example", "/any/more", "api"},   // the default backend
		{"theirs.example", "/", "api"},         // another controller's
		{"[fd00::1]:80", "/any", "cart"},
	} {
		r := table.Route(c.host, c.path)
		require.NotNil(t, r, "%s%s", c.host, c.path)
		require.Equal(t, []string{c.service + ":8080"}, r.Endpoints, "%s%s by %s %s", c.host, c.path, r.Ingress, r.Path)
	}
	require.Len(t, table.Ours, 3)
	require.Empty(t, table.Problems)
	require.Nil(t, ingress.NewTable(shop(t)).Route("shop.example", "/"), "nobody's")
}

// A rule without paths, and paths that match nothing, go to the Ingress's own
// default backend.
func TestOwnDefaultBackend(t *testing.T) {
	table := ingress.NewTable(shop(t, `
metadata: {namespace: default, name: shop}
spec:
  ingressClassName: klab
  defaultBackend: {service: {name: api, port: {number: 80}}}
  rules:
  - {host: bare.example}
  - host: shop.example
    http: {paths: [`+path("/cart", "Prefix", "cart")+`]}`))
	require.Equal(t, []string{"api:8080"}, table.Route("bare.example", "/x").Endpoints)
	require.Equal(t, []string{"api:8080"}, table.Route("shop.example", "/x").Endpoints)
	require.Equal(t, []string{"cart:8080"}, table.Route("shop.example", "/cart").Endpoints)
	require.Nil(t, table.Route("else.example", "/"))
}

func TestProblems(t *testing.T) {
	s := shop(t, `
metadata: {namespace: default, name: shop}
spec:
  ingressClassName: klab
  defaultBackend: {resource: {kind: StorageBucket, name: static}}
  tls: [{hosts: [shop.example], secretName: none}, {hosts: [b.example], secretName: bad}, {hosts: [c.example], secretName: good}]
  rules:
  - http: {paths: [`+path("/a", "Prefix", "nobody")+`, {path: /b, pathType: Prefix, backend: {service: {name: web, port: {number: 81}}}}]}`)
	good, _ := secret(t, "good", "shop.example")
	s.Secrets = []ingress.Secret{from[ingress.Secret](t, `{metadata: {namespace: default, name: bad}, data: {tls.crt: bm8=}}`), good}
	table := ingress.NewTable(s)
	var said []string
	for _, p := range table.Problems {
		said = append(said, p.Reason+": "+p.Message)
	}
	require.Equal(t, []string{
		"UnsupportedBackend: StorageBucket static cannot be a backend here: only Services can",
		"MissingService: Service default/nobody does not exist",
		"MissingPort: Service default/web has no port 81",
		"MissingSecret: Secret default/none does not exist: the controller's own certificate is shown",
		"BadSecret: Secret default/bad has no certificate with its key: tls: failed to find any PEM data in certificate input",
		"WrongCertificate: the certificate of Secret default/good is not for c.example",
	}, said)
	require.Empty(t, table.Route("x", "/a").Endpoints)
}

// secret is one with a certificate for names, and who trusts it.
func secret(t *testing.T, name string, hosts ...string) (ingress.Secret, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	like := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: hosts, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, like, like, &key.PublicKey, key)
	require.NoError(t, err)
	private, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	s := ingress.Secret{Metadata: ingress.Meta{Namespace: "default", Name: name}, Data: map[string][]byte{
		"tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		"tls.key": pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private}),
	}}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.Data["tls.crt"])
	return s, pool
}
