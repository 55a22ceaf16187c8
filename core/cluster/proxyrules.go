package cluster

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/klab-project/klab/netlab/proxy"
	"github.com/klab-project/klab/netlab/topology"
)

// ProxyRules is the text by which a mode would lead a node's packets to the
// Services that there are now, where there is nothing yet. The kernel is not
// asked: it is known also of modes that it has not. It is of one family of
// addresses, IPv6 if six is set.
func ProxyRules(ctx context.Context, d Dir, mode proxy.Mode, name string, six bool) (string, error) {
	client, err := d.clientset()
	if err != nil {
		return "", err
	}
	own, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	services, err := client.CoreV1().Services("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	endpointSlices, err := client.DiscoveryV1().EndpointSlices("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	ranges, err := client.NetworkingV1().ServiceCIDRs().List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	node := proxy.Node{Name: name, Zone: own.Labels[corev1.LabelTopologyZone], IP: firstOf(nodeIPs(own), six), Pods: podNet,
		Services: serviceRanges(pointers(ranges.Items), six)}
	if six {
		node.Pods = topology.Pods6
	}
	if !node.IP.IsValid() && six && firstOf(nodeIPs(own), false).IsValid() {
		return "", fmt.Errorf("%s has no IPv6: the cluster has one family of addresses; \"klab up --dual-stack\" makes one with both", name)
	}
	if !node.IP.IsValid() {
		return "", fmt.Errorf("%s has told no address yet: wait until it is Ready", name)
	}
	var s proxy.State
	for i := range services.Items {
		if svc := proxied(&services.Items[i], six); svc != nil {
			s.Services = append(s.Services, *svc)
		}
	}
	for i := range endpointSlices.Items {
		if e := proxiedSlice(&endpointSlices.Items[i], six); e != nil {
			s.Slices = append(s.Slices, *e)
		}
	}
	return rulesOf(mode, node, s), nil
}

func rulesOf(mode proxy.Mode, node proxy.Node, s proxy.State) string {
	switch mode {
	case proxy.NFTables:
		return proxy.NFTRules(node, s).Render()
	case proxy.IPVS:
		return proxy.IPVSRules(node, s).Render()
	}
	return proxy.Rules(node, s).Render()
}
