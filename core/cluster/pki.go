package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// The names and groups of the lab's certificates, as kubeadm gives them.
const (
	adminUser      = "kubernetes-admin"
	apiServerUser  = "kube-apiserver"
	controllerUser = "system:kube-controller-manager"
	schedulerUser  = "system:kube-scheduler"
	nodeUserPrefix = "system:node:"
	mastersGroup   = "system:masters"
	nodesGroup     = "system:nodes"
)

// years that the lab's certificates are valid.
const years = 10

// authority is the lab's certificate authority, and the directory in which
// all certificates are kept.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
	life time.Duration // of what it issues; 0 means years
}

// openAuthority reads the authority in dir, or makes it.
func openAuthority(dir string) (*authority, error) {
	a := &authority{dir: dir}
	pair, err := tls.LoadX509KeyPair(a.file("ca.crt"), a.file("ca.key"))
	if errors.Is(err, fs.ErrNotExist) {
		if err = a.make(); err == nil {
			pair, err = tls.LoadX509KeyPair(a.file("ca.crt"), a.file("ca.key"))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	a.cert, a.key = pair.Leaf, pair.PrivateKey.(*ecdsa.PrivateKey)
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
	return a, nil
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) make() error {
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "klab-ca"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	return a.write("ca", template, nil, nil)
}

// issue makes sure that dir has name.crt and name.key for a client, and for a
// server too if it has hosts.
func (a *authority) issue(name, user string, groups []string, hosts ...string) (tls.Certificate, error) {
	crt, key := a.file(name+".crt"), a.file(name+".key")
	if pair, err := tls.LoadX509KeyPair(crt, key); err == nil && time.Now().Before(pair.Leaf.NotAfter) {
		return pair, nil
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	if len(hosts) > 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	if err := a.write(name, template, a.cert, a.key); err != nil {
		return tls.Certificate{}, err
	}
	return tls.LoadX509KeyPair(crt, key)
}

// write makes a key and a certificate; without a parent it signs itself.
func (a *authority) write(name string, template, parent *x509.Certificate, signer *ecdsa.PrivateKey) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if parent == nil {
		parent, signer = template, key
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	template.SerialNumber = serial
	now := time.Now()
	template.NotBefore, template.NotAfter = now.Add(-time.Hour), now.AddDate(years, 0, 0)
	if a.life > 0 {
		template.NotBefore, template.NotAfter = now.Add(-backdate(a.life)), now.Add(a.life)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	// The key first: with the certificate there, both are.
	if err := writeFile(a.file(name+".key"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret}), 0o600); err != nil {
		return err
	}
	return writeFile(a.file(name+".crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}

// tokenKey is the key by which the API server signs the tokens of service
// accounts. It is kept, so that they are good after a restart.
func (a *authority) tokenKey() (*ecdsa.PrivateKey, error) {
	file := a.file("sa.key")
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		secret, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			return nil, err
		}
		return key, writeFile(file, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret}), 0o600)
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s has no key in it; remove it, and there will be a new one (and no old token will be good)", file)
	}
	return x509.ParseECPrivateKey(block.Bytes)
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// nodePKI gives a node's directory what its agent needs: the authority's
// certificate and the node's own, which is good for life: the agent asks for
// others in time.
func (a *authority) nodePKI(dir, name string, life time.Duration, hosts ...string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	n := &authority{dir: dir, cert: a.cert, key: a.key, life: life}
	if err := writeFile(n.file("ca.crt"), a.pem, 0o644); err != nil {
		return err
	}
	_, err := n.issue("node", nodeUserPrefix+name, []string{nodesGroup}, hosts...)
	return err
}
