package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/klab-project/klab/core/step/remote"
)

// writeKubeconfig writes the administrator's kubeconfig, with everything in it.
func writeKubeconfig(d Dir, a *authority, server string) error {
	if _, err := a.issue("admin", adminUser, []string{mastersGroup}); err != nil {
		return err
	}
	crt, err := os.ReadFile(a.file("admin.crt"))
	if err != nil {
		return err
	}
	key, err := os.ReadFile(a.file("admin.key"))
	if err != nil {
		return err
	}
	name := "klab-" + d.Name
	c := clientcmdapi.NewConfig()
	c.Clusters[name] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: a.pem}
	c.AuthInfos[name] = &clientcmdapi.AuthInfo{ClientCertificateData: crt, ClientKeyData: key}
	c.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name, Namespace: "default"}
	c.CurrentContext = name
	data, err := clientcmd.Write(*c)
	if err != nil {
		return err
	}
	return writeFile(d.Kubeconfig(), data, 0o600)
}

// RESTConfig is how clients of the cluster speak to its API server.
func (d Dir) RESTConfig() (*rest.Config, error) {
	text, err := os.ReadFile(d.Kubeconfig())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, d.notUp()
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("the cluster %q is its administrator's: use sudo", d.Name)
	case err != nil:
		return nil, err
	}
	return clientcmd.RESTConfigFromKubeConfig(text)
}

// ErrNotUp is the error of clients of a cluster that does not run.
var ErrNotUp = errors.New("is not up")

func (d Dir) notUp() error {
	flag := ""
	if d.Name != DefaultName {
		flag = " --cluster " + d.Name
	}
	return fmt.Errorf("the cluster %q %w: start it with \"sudo klab%s up\"", d.Name, ErrNotUp, flag)
}

// Connect returns a client of the cluster's steps.
func Connect(d Dir) (*remote.Client, error) {
	if d.Daemon() == 0 {
		return nil, d.notUp()
	}
	c, err := d.RESTConfig()
	if err != nil {
		return nil, err
	}
	client, err := rest.HTTPClientFor(c)
	if err != nil {
		return nil, err
	}
	return &remote.Client{HTTP: client, Base: c.Host}, nil
}

// nodeTLS reads what nodePKI wrote.
func nodeTLS(dir string) (*tls.Config, *x509.CertPool, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "node.crt"), filepath.Join(dir, "node.key"))
	if err != nil {
		return nil, nil, err
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		return nil, nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, nil, fmt.Errorf("%s: no certificate in it", filepath.Join(dir, "ca.crt"))
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, MinVersion: tls.VersionTLS12}, pool, nil
}

// linkClient is an HTTP client for an agent's step stream, on a connection of
// its own: a stream that is read slowly must not hold up other requests.
func linkClient(c *tls.Config) *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: true}}
}
