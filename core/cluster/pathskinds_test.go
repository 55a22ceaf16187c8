package cluster_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/netns"
)

// kindsOf are Services and pods of special kinds, beside those of pathsOf.
const kindsOf = `
{apiVersion: v1, kind: Service, metadata: {name: balanced}, spec: {type: LoadBalancer, ipFamilyPolicy: RequireDualStack, selector: {app: c}, ports: [{port: 80, targetPort: 8080}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: balanced-local}, spec: {type: LoadBalancer, ipFamilyPolicy: RequireDualStack, externalTrafficPolicy: Local, selector: {app: c}, ports: [{port: 80, targetPort: 8080}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: headless}, spec: {clusterIP: None, ipFamilyPolicy: RequireDualStack, selector: {app: c}, ports: [{port: 8080}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: inner}, spec: {internalTrafficPolicy: Local, selector: {app: c}, ports: [{port: 80, targetPort: 8080}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: own}, spec: {ports: [{name: web, port: 80}, {name: talk, port: 53, protocol: UDP}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: own-1, labels: {kubernetes.io/service-name: own}}
addressType: IPv4
endpoints: [{addresses: [172.30.0.12]}]
ports: [{name: web, port: 9080, protocol: TCP}, {name: talk, port: 9053, protocol: UDP}]
---
{apiVersion: v1, kind: Service, metadata: {name: any}, spec: {selector: {part: paths}, ports: [{port: 80, targetPort: 8080}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: sticky}, spec: {sessionAffinity: ClientIP, selector: {part: paths}, ports: [{port: 80, targetPort: 8080}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: early}, spec: {publishNotReadyAddresses: true, selector: {app: unready}, ports: [{port: 80, targetPort: 8080}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: late}, spec: {selector: {app: unready}, ports: [{port: 80, targetPort: 8080}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: leaving}, spec: {selector: {app: leaving}, ports: [{port: 80, targetPort: 8080}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: h}
spec:
  hostNetwork: true
  nodeName: node-1
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: "klab.local/tools:1", command: [sleep, "36000"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: leaving, labels: {app: leaving}}
spec:
  nodeName: node-2
  terminationGracePeriodSeconds: 600
  containers:
  - {name: main, image: "klab.local/tools:1", args: [httpd, ":8080", "-quiet"], lifecycle: {preStop: {sleep: {seconds: 600}}}}
---
apiVersion: v1
kind: Pod
metadata: {name: unready, labels: {app: unready}}
spec:
  nodeName: node-2
  terminationGracePeriodSeconds: 0
  containers:
  - {name: main, image: "klab.local/tools:1", args: [httpd, ":8080", "-quiet"], readinessProbe: {exec: {command: ["false"]}}}
`

// applyKinds makes them, and somebody on node-2 behind the Service that has no
// selector.
func (p *paths) applyKinds() {
	file := filepath.Join(p.t.TempDir(), "kinds.yaml")
	require.NoError(p.t, os.WriteFile(file, []byte(kindsOf), 0o600))
	p.kubectl("apply", "-f", file)
	p.serveOwn()
	p.routeExternal()
	p.kubectl("wait", "--for=condition=Ready", "pod/h", "pod/leaving", "--timeout=120s")
	p.kubectl("wait", "--for=jsonpath={.status.podIP}", "pod/unready", "--timeout=120s")
	for _, name := range []string{"inner", "own", "any", "sticky", "early", "late", "leaving"} {
		p.vip[name] = p.kubectl("get", "service", name, "-o", "jsonpath={.spec.clusterIP}")
	}
	for _, name := range []string{"balanced", "balanced-local"} {
		p.kubectl("wait", "--for=jsonpath={.status.loadBalancer.ingress}", "service/"+name, "--timeout=120s")
		p.vip[name], p.vip6[name], _ = strings.Cut(p.kubectl("get", "service", name, "-o", "jsonpath={.status.loadBalancer.ingress[*].ip}"), " ")
	}
}

// routeExternal leads the outside's packets to an external IP to node-1: that is
// not a cluster's own task.
func (p *paths) routeExternal() {
	gateway, err := link.Open(filepath.Join(p.Path, "net", "gateway"), link.By{Actor: "test"})
	require.NoError(p.t, err)
	defer gateway.Close()
	for dst, via := range map[string]string{"172.30.0.102/32": "172.30.0.11", "fd00:172:30::102/128": "fd00:172:30::b"} {
		require.NoError(p.t, gateway.Route(context.Background(), link.Route{Dst: netip.MustParsePrefix(dst), Via: netip.MustParseAddr(via), Dev: "eth0"}))
	}
}

// kinds are the ways by Services of special kinds that hold in every world.
func (p *paths) kinds() []path {
	const client, client6 = "192.0.2.10", "2001:db8:192::a"
	return []path{
		{"outside to load balancer", "outside", p.vip["balanced"] + ":80", "c", "any node"},
		{"outside to load balancer, local", "outside", p.vip["balanced-local"] + ":80", "c", client},
		{"pod to load balancer", "a", p.vip["balanced"] + ":80", "c", "node-1"},
		{"IPv6, outside to load balancer", "outside", six(p.vip6["balanced"], 80), "c", "any node"},
		{"IPv6, outside to load balancer, local", "outside", six(p.vip6["balanced-local"], 80), "c", client6},
		{"IPv6, pod to load balancer", "a", six(p.vip6["balanced"], 80), "c", "node-1"},
		{"IPv6, node to load balancer", "node-1", six(p.vip6["balanced"], 80), "c", "node-1"},
		{"outside to external IP", "outside", "172.30.0.102:80", "c", "node-1"},
		{"IPv6, outside to external IP", "outside", "[fd00:172:30::102]:80", "c", "node-1"},
		{"host-network pod to Service", "h", p.vip["c"] + ":80", "c", "node-1"},
		{"node to Service of local traffic", "node-2", p.vip["inner"] + ":80", "c", "node-2"},
		{"node to Service of local traffic where there is no pod", "node-1", p.vip["inner"] + ":80", "", ""},
		{"pod to Service without selector", "a", p.vip["own"] + ":80", "own", "node-1"},
		{"pod that is not ready", "node-1", p.vip["late"] + ":80", "", ""},
		{"pod that is not ready, published", "node-1", p.vip["early"] + ":80", "unready", "node-1"},
	}
}

// serveOwn answers on node-2 what Services without a selector lead there.
func (p *paths) serveOwn() {
	ctx := context.Background()
	web, err := netns.Listen(ctx, p.ns("node-2"), "tcp", "172.30.0.12:9080")
	require.NoError(p.t, err)
	talk, err := netns.ListenPacket(ctx, p.ns("node-2"), "udp", "172.30.0.12:9053")
	require.NoError(p.t, err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "pod own\nclient %s\n", r.RemoteAddr)
	})}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(web) })
	serving.Go(func() {
		buf := make([]byte, 100)
		for {
			n, from, err := talk.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = talk.WriteTo(append([]byte("own hears "), buf[:n]...), from)
		}
	})
	p.t.Cleanup(func() { _ = server.Close(); talk.Close(); serving.Wait() })
}

// udp is what a datagram from a node is answered, or why it is not.
func (p *paths) udp(node, to, text string) string {
	c, err := netns.Dialer(p.ns(node))(context.Background(), "udp", to)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	if _, err := c.Write([]byte(text)); err != nil {
		return err.Error()
	}
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	buf := make([]byte, 100)
	n, err := c.Read(buf)
	if err != nil {
		return err.Error()
	}
	return string(buf[:n])
}

// answerers are the pods that answer a node's connections.
func (p *paths) answerers(node, to string, times int) (names map[string]bool) {
	names = map[string]bool{}
	for range times {
		var said []string
		require.Eventually(p.t, func() bool {
			text, err := p.get(node, to, time.Minute)
			said = saidPod.FindStringSubmatch(text)
			return err == nil && said != nil
		}, eventually, tick, "nobody answers at %s", to)
		names[said[1]] = true
	}
	return names
}

// holdKinds sees that Services of special kinds do what else they are for.
func (p *paths) holdKinds(world string) {
	const node16, node26 = "fd00:172:30::b", "fd00:172:30::c"
	p.eventually(p.ip["c"]+" "+p.ip6["c"], "get", "endpointslices", "-l", "kubernetes.io/service-name=headless", "--sort-by=.addressType",
		"-o", "jsonpath={.items[*].endpoints[*].addresses[*]}")
	require.Empty(p.t, p.wrong(path{"", "outside", six(node16, 30085), "", ""}), "%s: IPv6, outside to local node port where there is no pod", world)
	check := p.kubectl("get", "service", "balanced-local", "-o", "jsonpath={.spec.healthCheckNodePort}")
	for node, endpoints := range map[string]string{node16: "0", node26: "1"} {
		text, err := p.get("outside", net.JoinHostPort(node, check), time.Minute)
		require.NoError(p.t, err)
		require.Contains(p.t, text, `"localEndpoints": `+endpoints, "%s: health check at %s", world, node)
	}
	require.EventuallyWithT(p.t, func(c *assert.CollectT) {
		assert.Equal(c, "own hears hello", p.udp("node-1", p.vip["own"]+":53", "hello"))
	}, eventually, tick, "%s: UDP to a Service", world)
	require.Greater(p.t, len(p.answerers("node-1", p.vip["any"]+":80", 40)), 1, "%s: pods of a Service of three", world)
	require.Len(p.t, p.answerers("node-1", p.vip["sticky"]+":80", 20), 1, "%s: pods of a client that has affinity", world)
}

// holdLeaving sees that a pod that ends takes connections while nobody else
// does, and that nobody takes them when it has gone.
func (p *paths) holdLeaving() {
	p.kubectl("delete", "pod", "leaving", "--wait=false")
	p.eventually("true true", "get", "endpointslices", "-l", "kubernetes.io/service-name=leaving",
		"-o", "jsonpath={.items[0].endpoints[0].conditions['serving','terminating']}")
	way := path{"pod that ends", "node-1", p.vip["leaving"] + ":80", "leaving", "node-1"}
	p.open("while it ends", way)
	p.kubectl("delete", "pod", "leaving", "--grace-period=0", "--force")
	way.answers = ""
	p.open("when it has ended", way)
}
