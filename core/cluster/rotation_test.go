package cluster_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/cluster"
	"github.com/klab-project/klab/netlab/netns"
)

// Certificates that live for seconds are replaced again and again, and nothing
// that goes on notices.
func TestKubeletCertificatesRotate(t *testing.T) {
	l := newLab(t)
	const life = time.Minute // and at least 18 seconds of it are left when a certificate is to be replaced
	require.NoError(t, cluster.Up(context.Background(), l.Dir, cluster.UpOptions{Nodes: 1, Wait: true, Without: cluster.Addons(), Self: l.klab, SigningDuration: life}))
	pki := filepath.Join(l.Path, "nodes", "node-1", "pki")
	issued := l.read(filepath.Join(pki, "node.crt"))
	l.runCounter("counter")
	id := l.kubectl("get", "pod", "counter", "-o", containerID)

	// A stream by way of the API server and the kubelet lasts through it all.
	logs := filepath.Join(t.TempDir(), "logs")
	file, err := os.Create(logs)
	require.NoError(t, err)
	defer file.Close()
	follow := exec.Command(l.klab, "--cluster", l.Name, "kubectl", "logs", "-f", "counter")
	follow.Env = append(os.Environ(), "KLAB_ROOT="+filepath.Dir(l.Path))
	follow.Stdout = file
	require.NoError(t, follow.Start())
	before := l.servedBy("node-1")
	require.Equal(t, "system:node:node-1", before.Subject.CommonName)
	require.LessOrEqual(t, time.Until(before.NotAfter), life)

	client, serving := filepath.Join(pki, "kubelet-client-current.pem"), filepath.Join(pki, "kubelet-server-current.pem")
	seen := map[string]map[string]bool{client: {}, serving: {}}
	require.Eventually(t, func() bool {
		for path := range seen {
			if text, err := os.ReadFile(path); err == nil {
				seen[path][string(text)] = true
			}
		}
		return len(seen[client]) >= 2 && len(seen[serving]) >= 2
	}, 2*eventually, tick, "each is replaced twice: the second time by the first's own right")
	after := l.servedBy("node-1")
	require.NotEqual(t, before.SerialNumber, after.SerialNumber)
	require.Equal(t, before.DNSNames, after.DNSNames)
	require.Equal(t, before.IPAddresses, after.IPAddresses)
	require.Equal(t, issued, l.read(filepath.Join(pki, "node.crt")))

	l.kubectl("run", "after", "--image=klab.local/tools:1", "--", "sleep", "600")
	l.kubectl("wait", "--for=condition=Ready", "pod/after", "--timeout=120s")
	require.Equal(t, "hello", l.kubectl("exec", "after", "--", "echo", "hello"))
	require.Equal(t, id, l.kubectl("get", "pod", "counter", "-o", containerID))
	require.Equal(t, "0", l.kubectl("get", "pod", "counter", "-o", restarts))
	require.NoError(t, follow.Process.Signal(syscall.Signal(0)), "the logs are still being followed")
	last := l.logs("counter", "--tail=1")
	n, err := strconv.Atoi(last)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return strings.Contains(l.read(logs), "\n"+last+"\n") }, eventually, tick, "%s is not followed", last)
	require.NoError(t, follow.Process.Signal(os.Interrupt))
	_ = follow.Wait() // ended by the signal
	require.Greater(t, strings.Count(l.read(logs), "\n"), n, "up to the end, nothing is missing")

	lines := strings.Split(l.kubectl("get", "csr", "--no-headers"), "\n")
	require.GreaterOrEqual(t, len(lines), 4)
	for _, line := range lines {
		require.Regexp(t, `^csr-\w{5} +\S+ +kubernetes.io/(kube-apiserver-client-kubelet|kubelet-serving) +system:node:node-1 +<none> +(Approved,Issued|Approved|Pending)$`, line)
	}
	require.GreaterOrEqual(t, strings.Count(strings.Join(lines, "\n"), "Approved,Issued"), 4, "each was replaced twice")
}

// servedBy is the good certificate that a kubelet shows.
func (l *lab) servedBy(node string) (shown *x509.Certificate) {
	l.t.Helper()
	dial := netns.Dialer(filepath.Join(l.Path, "nodes", node, "ns", "net"))
	roots := x509.NewCertPool()
	require.True(l.t, roots.AppendCertsFromPEM([]byte(l.read(filepath.Join(l.Path, "pki", "ca.crt")))))
	require.Eventually(l.t, func() bool {
		conn, err := dial(context.Background(), "tcp", "127.0.0.1:10250")
		if err != nil {
			return false
		}
		secure := tls.Client(conn, &tls.Config{RootCAs: roots, ServerName: node, MinVersion: tls.VersionTLS12})
		defer secure.Close()
		if secure.Handshake() != nil {
			return false
		}
		shown = secure.ConnectionState().PeerCertificates[0]
		return true
	}, eventually, tick, "the kubelet of %s", node)
	return shown
}

func (l *lab) read(path string) string {
	l.t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(l.t, err)
	return string(text)
}
