package cluster

import (
	"context"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/dns"
)

// dnsClients knows who has which address, and what a pod's resolver does, for
// those who ask DNS servers. It asks the API when somebody asks whom it does not
// know, or has not looked up for a while.
type dnsClients struct {
	client kubernetes.Interface

	mu     sync.Mutex
	asked  time.Time // when the API was asked last
	known  map[netip.Addr]*dnsClient
	before dns.Recent
}

type dnsClient struct {
	place step.Place
	pod   *corev1.Pod // nil: none that has a resolver of its own
	read  bool
	conf  *step.ResolvConf // nil: it could not be read
}

const (
	dnsClientsLast  = 10 * time.Second       // for which an address is its pod's
	dnsClientsPause = 500 * time.Millisecond // between two looks at the API
	dnsClientsWait  = 2 * time.Second        // for the API's answer
)

// who is an address, and what its resolver made of a name.
func (c *dnsClients) who(ctx context.Context, a netip.Addr, name, kind string) (from step.Place, asked, why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if age := now.Sub(c.asked); age > dnsClientsLast || c.known[a] == nil && age > dnsClientsPause {
		c.look(ctx)
		c.asked = time.Now() // an API that does not answer is not asked again at once
	}
	earlier := c.before.Add(a, name, kind, now)
	k := c.known[a]
	if k == nil {
		return step.Place{Kind: "address", Address: a.String()}, "", ""
	}
	from = k.place
	from.Address = a.String()
	if !k.read && k.pod != nil {
		k.read = true
		if text, _, err := podResolver(k.pod); err == nil {
			conf := dns.ReadResolvConf(text)
			k.conf = &conf
		}
	}
	if k.conf != nil {
		asked, why = dns.Searched(*k.conf, name, earlier)
	}
	return from, asked, why
}

// look asks the API. What is known of pods that are still there stays; without an
// answer everything does.
func (c *dnsClients) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, dnsClientsWait)
	defer cancel()
	pods, err := c.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return
	}
	nodes, err := c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return
	}
	old := c.known
	c.known = map[netip.Addr]*dnsClient{}
	put := func(text string, k *dnsClient) {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return
		}
		if was := old[a]; was != nil && was.pod != nil && k.pod != nil && was.pod.UID == k.pod.UID && was.conf != nil {
			k = was
		}
		c.known[a] = k
	}
	for i := range nodes.Items {
		n := &nodes.Items[i]
		k := &dnsClient{place: step.Place{Kind: "node", Name: n.Name, Node: n.Name}}
		for _, at := range n.Status.Addresses {
			put(at.Address, k)
		}
		for _, cidr := range n.Spec.PodCIDRs { // its ends of the overlay and of the bridge
			if p, err := netip.ParsePrefix(cidr); err == nil {
				put(p.Masked().Addr().String(), k)
				put(p.Masked().Addr().Next().String(), k)
			}
		}
	}
	for i := range pods.Items {
		p := &pods.Items[i]
		if p.Spec.HostNetwork || finished(p) {
			continue
		}
		for _, ip := range p.Status.PodIPs {
			put(ip.IP, &dnsClient{place: podPlace(p), pod: p})
		}
	}
}
