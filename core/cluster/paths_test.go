package cluster_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/cluster"
	"github.com/klab-project/klab/netlab/cni"
	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/overlay"
	"github.com/klab-project/klab/netlab/probe"
	"github.com/klab-project/klab/netlab/proxy"
)

// pathsOf are the manifests of a cluster of two nodes in which a and b are on
// node-1, c is on node-2, and each is behind Services of its own.
const pathsOf = `
apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: {app: NAME, part: paths}}
spec:
  nodeName: NODE
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: "klab.local/tools:1", args: [httpd, ":8080", "-quiet"]}]
---
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec: {type: NodePort, ipFamilyPolicy: RequireDualStack, selector: {app: NAME}, externalIPs: [172.30.0.OUT, "fd00:172:30::OUT"], ports: [{port: 80, targetPort: 8080, nodePort: 30080NUMBER}]}
---
apiVersion: v1
kind: Service
metadata: {name: local-NAME}
spec: {type: NodePort, ipFamilyPolicy: RequireDualStack, externalTrafficPolicy: Local, selector: {app: NAME}, ports: [{port: 80, targetPort: 8080, nodePort: 30083NUMBER}]}
`

// paths is a cluster with those pods.
type paths struct {
	*lab
	pods      map[string]string // their network namespaces
	ip, ip6   map[string]string // of the pods
	vip, vip6 map[string]string // of their Services
	nodes     map[string][]string
}

func newPaths(t *testing.T) *paths {
	p := &paths{lab: newLab(t), pods: map[string]string{}, ip: map[string]string{}, ip6: map[string]string{}, vip: map[string]string{}, vip6: map[string]string{}, nodes: map[string][]string{}}
	require.NoError(t, cluster.Up(t.Context(), p.Dir, cluster.UpOptions{Nodes: 2, DualStack: true, Wait: true, Without: cluster.Addons(), Self: p.klab}))
	for i, pod := range []struct{ name, node string }{{"a", "node-1"}, {"b", "node-1"}, {"c", "node-2"}} {
		text := strings.NewReplacer("NAME", pod.name, "NODE", pod.node, "30080NUMBER", fmt.Sprint(30080+i), "30083NUMBER", fmt.Sprint(30083+i), "OUT", fmt.Sprint(100+i)).Replace(pathsOf)
		file := filepath.Join(t.TempDir(), "pod.yaml")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		p.kubectl("apply", "-f", file)
	}
	p.applyKinds()
	p.kubectl("wait", "--for=condition=Ready", "pod", "-l", "part=paths", "--timeout=120s")
	p.find()
	for _, name := range []string{"a", "b", "c"} {
		p.vip[name], p.vip6[name], _ = strings.Cut(p.kubectl("get", "service", name, "-o", "jsonpath={.spec.clusterIPs[*]}"), " ")
	}
	return p
}

// find finds the namespaces of the pods, and their addresses.
func (p *paths) find() {
	for _, node := range []string{"node-1", "node-2"} {
		known, err := (&cni.Runner{Cache: filepath.Join(p.Path, "nodes", node, "cni", "state", "results")}).Attachments("")
		require.NoError(p.t, err)
		for _, a := range known {
			for _, arg := range a.Args {
				if arg[0] == "K8S_POD_NAME" {
					p.pods[arg[1]] = a.NetNS
				}
			}
		}
	}
	for _, name := range []string{"a", "b", "c"} {
		p.ip[name], p.ip6[name], _ = strings.Cut(p.kubectl("get", "pod", name, "-o", "jsonpath={.status.podIPs[*].ip}"), " ")
	}
}

// ns is the network namespace of a pod, a node, or the outside.
func (p *paths) ns(of string) string {
	if path, ok := p.pods[of]; ok {
		return path
	}
	if of == "outside" {
		return filepath.Join(p.Path, "net", "outside")
	}
	return filepath.Join(p.Path, "nodes", of, "ns", "net")
}

// look reads what addresses the nodes have now.
func (p *paths) look() {
	for _, node := range []string{"node-1", "node-2"} {
		p.nodes[node] = nil
		require.NoError(p.t, netns.Do(p.ns(node), func() error {
			addrs, err := net.InterfaceAddrs()
			for _, a := range addrs {
				if ip := a.(*net.IPNet).IP; !ip.IsLoopback() {
					p.nodes[node] = append(p.nodes[node], ip.String())
				}
			}
			return err
		}))
	}
	p.nodes["any node"] = append(slices.Clone(p.nodes["node-1"]), p.nodes["node-2"]...)
}

// path is one way of a packet: who opens a connection to whom, who answers (a
// pod at its own address of that family), and whose address he sees.
type path struct {
	name, from, to string
	answers        string // a pod
	sees           string // a pod, a node (any of its addresses), or an address
}

func (p *paths) all() []path {
	const node1, node2, client = "172.30.0.11", "172.30.0.12", "192.0.2.10"
	const node16, node26, client6 = "fd00:172:30::b", "fd00:172:30::c", "2001:db8:192::a"
	return []path{
		{"pod to pod, same node", "a", p.ip["b"] + ":8080", "b", "a"},
		{"pod to pod, other node", "a", p.ip["c"] + ":8080", "c", "a"},
		{"and back", "c", p.ip["a"] + ":8080", "a", "c"},
		{"pod to Service, same node", "a", p.vip["b"] + ":80", "b", "a"},
		{"pod to Service, other node", "a", p.vip["c"] + ":80", "c", "a"},
		{"pod to itself by its Service", "a", p.vip["a"] + ":80", "a", "node-1"},
		{"pod to node port", "a", node2 + ":30081", "b", "node-2"},
		{"node to its pod", "node-1", p.ip["a"] + ":8080", "a", "node-1"},
		{"node to other pod", "node-1", p.ip["c"] + ":8080", "c", "node-1"},
		{"node to Service", "node-1", p.vip["c"] + ":80", "c", "node-1"},
		{"outside to node port, same node", "outside", node1 + ":30080", "a", "node-1"},
		{"outside to node port, other node", "outside", node1 + ":30082", "c", "node-1"},
		{"outside to local node port", "outside", node2 + ":30085", "c", client},
		{"outside to local node port where there is no pod", "outside", node1 + ":30085", "", ""},
		{"node to external IP", "node-1", "172.30.0.102:80", "c", "node-1"},
		{"pod to outside", "a", client + ":8088", "outside", node1},
		{"IPv6, pod to pod, same node", "a", six(p.ip6["b"], 8080), "b", "a"},
		{"IPv6, pod to pod, other node", "a", six(p.ip6["c"], 8080), "c", "a"},
		{"IPv6, pod to Service, same node", "a", six(p.vip6["b"], 80), "b", "a"},
		{"IPv6, pod to Service, other node", "a", six(p.vip6["c"], 80), "c", "a"},
		{"IPv6, pod to itself by its Service", "a", six(p.vip6["a"], 80), "a", "node-1"},
		{"IPv6, pod to node port", "a", six(node26, 30081), "b", "node-2"},
		{"IPv6, node to other pod", "node-1", six(p.ip6["c"], 8080), "c", "node-1"},
		{"IPv6, node to Service", "node-1", six(p.vip6["c"], 80), "c", "node-1"},
		{"IPv6, outside to node port, same node", "outside", six(node16, 30080), "a", "node-1"},
		{"IPv6, outside to node port, other node", "outside", six(node16, 30082), "c", "node-1"},
		{"IPv6, outside to local node port", "outside", six(node26, 30085), "c", client6},
		{"IPv6, node to external IP", "node-1", six("fd00:172:30::102", 80), "c", "node-1"},
		{"IPv6, pod to outside", "a", six(client6, 8088), "outside", node16},
	}
}

func six(ip string, port int) string { return fmt.Sprintf("[%s]:%d", ip, port) }

var (
	saidPod    = regexp.MustCompile(`(?m)^pod +(\S+)`)
	saidClient = regexp.MustCompile(`(?m)^client +\[?([^\]\s]+)\]?:\d+`)
	saidServer = regexp.MustCompile(`(?m)^server +\[?([^\]\s]+)\]?:8080`)
)

// get asks over HTTP, from a node, the outside or a pod.
func (p *paths) get(from, to string, limit time.Duration) (string, error) {
	if from == "h" { // it has no network namespace of its own
		return p.try("exec", from, "--", "wget", "-T", fmt.Sprint(limit.Seconds()), "-q", "-O", "-", "http://"+to+"/")
	}
	client := http.Client{Transport: &http.Transport{DialContext: netns.Dialer(p.ns(from)), DisableKeepAlives: true}, Timeout: limit}
	res, err := client.Get("http://" + to + "/")
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return string(text), err
}

// wrong tells what is wrong with a way, or nothing.
func (p *paths) wrong(way path) string {
	limit := 10 * time.Second
	if way.answers == "" {
		limit = time.Second
	}
	text, err := p.get(way.from, way.to, limit)
	if way.answers == "" {
		if err == nil {
			return "somebody answers: " + text
		}
		return ""
	}
	pod, client := saidPod.FindStringSubmatch(text), saidClient.FindStringSubmatch(text)
	if err != nil || pod == nil || client == nil {
		return fmt.Sprintf("no answer: %v %s", err, text)
	}
	ip := p.ip
	if strings.HasPrefix(way.to, "[") {
		ip = p.ip6
	}
	want := []string{way.sees}
	if of := ip[way.sees]; of != "" {
		want = []string{of}
	} else if list := p.nodes[way.sees]; list != nil {
		want = list
	}
	if at := saidServer.FindStringSubmatch(text); ip[way.answers] != "" && (at == nil || at[1] != ip[way.answers]) {
		return fmt.Sprintf("%s was asked at %s, and not at %s", way.answers, at, ip[way.answers])
	}
	if pod[1] != way.answers || !slices.Contains(want, client[1]) {
		return fmt.Sprintf("%s answers %s, and not %s to %v", pod[1], client[1], way.answers, want)
	}
	return ""
}

// serveOutside answers as a pod would, from the outside.
func (p *paths) serveOutside() {
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "pod outside\nclient %s\n", r.RemoteAddr)
	})}
	var serving sync.WaitGroup
	for _, addr := range []string{"192.0.2.10:8088", "[2001:db8:192::a]:8088"} {
		l, err := netns.Listen(context.Background(), p.ns("outside"), "tcp", addr)
		require.NoError(p.t, err)
		serving.Go(func() { _ = server.Serve(l) })
	}
	p.t.Cleanup(func() { _ = server.Close(); serving.Wait() })
}

// Every way of a packet, whatever leads it: who gets it, and from whom he
// believes to have it.
func TestEveryPathInEveryWorld(t *testing.T) {
	p := newPaths(t)
	p.serveOutside()
	for i, backend := range overlay.Types {
		require.NoError(t, cluster.SetBackend(t.Context(), p.Dir, backend))
		modes := []proxy.Mode{proxy.IPTables, proxy.NFTables}
		if probe.Has(t.Context(), "ipvs") {
			modes = append(modes, proxy.IPVS)
		}
		if i%2 == 1 {
			slices.Reverse(modes) // each change is of one thing
		}
		for _, mode := range modes {
			require.NoError(t, cluster.SetProxyMode(t.Context(), p.Dir, mode))
			p.hold(fmt.Sprint(backend, ", ", mode))
			if i == 0 { // the rest has nothing to do with the overlay
				p.holdKinds(fmt.Sprint(mode))
			}
		}
	}
	p.holdLeaving()
}

// hold sees that all ways are as they should be.
func (p *paths) hold(world string) {
	p.look()
	for _, way := range append(p.all(), p.kinds()...) {
		p.open(world, way)
	}
}

// open waits until a way is as it should be.
func (p *paths) open(world string, way path) {
	p.t.Helper()
	wrong := p.wrong(way)
	for end := time.Now().Add(eventually); wrong != "" && time.Now().Before(end); wrong = p.wrong(way) {
		time.Sleep(tick)
		p.look() // a device of the overlay may have got its address only now
	}
	require.Empty(p.t, wrong, "%s: %s", world, way.name)
}
