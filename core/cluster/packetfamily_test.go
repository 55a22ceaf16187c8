package cluster

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/klab-project/klab/netlab/trace"
)

func TestAnAddressIsChosenByFamily(t *testing.T) {
	one := &corev1.Node{Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "172.30.0.11"}, {Type: corev1.NodeHostName, Address: "node-1"}}}}
	both := one.DeepCopy()
	both.Status.Addresses = append(both.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: "fd00:172:30::11"})
	two := []string{"10.244.1.2", "fd00:10:244:1::2"}
	for name, c := range map[string]struct {
		family string
		node   *corev1.Node
		of     []string
		want   string
		wrong  string
	}{
		"the first of any":                  {"", both, two, "10.244.1.2", ""},
		"IPv4":                              {"IPv4", both, two, "10.244.1.2", ""},
		"IPv6":                              {"IPv6", both, two, "fd00:10:244:1::2", ""},
		"what is no address is passed over": {"", both, []string{"None", "", "fd00::1"}, "fd00::1", ""},
		"none yet":                          {"", both, nil, "", "pod default/web has no address yet"},
		"none of that family":               {"IPv6", both, two[:1], "", "pod default/web has no address of IPv6"},
		"no IPv4 in a cluster of both":      {"IPv4", both, two[1:], "", "pod default/web has no address of IPv4"},
		"no IPv6 in the whole cluster":      {"IPv6", one, two[:1], "", `pod default/web has no address of IPv6: this cluster has IPv4 only; "klab up --dual-stack" makes one with both`},
	} {
		t.Run(name, func(t *testing.T) {
			e := &packetEnds{knownNames: &knownNames{nodes: []*corev1.Node{c.node}}, family: c.family}
			a, err := e.choose("pod default/web", c.of...)
			if c.wrong != "" {
				require.EqualError(t, err, c.wrong)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, a.String())
		})
	}
}

func TestAFamilyHasAKnownName(t *testing.T) {
	for _, good := range []string{"", "IPv4", "IPv6"} {
		require.NoError(t, checkFamily(good))
	}
	require.EqualError(t, checkFamily("ipx"), `"ipx" is no family of addresses: it is IPv4 or IPv6`)
}

func TestTheSenderHasTheFamilyOfWhereItSends(t *testing.T) {
	pod := &corev1.Pod{Status: corev1.PodStatus{PodIPs: []corev1.PodIP{{IP: "10.244.1.2"}, {IP: "fd00:10:244:1::2"}}}}
	pod.Namespace, pod.Name = "default", "client"
	names := &knownNames{pods: []*corev1.Pod{pod}}
	names.index()
	spaces := []trace.Space{{Name: "pod/default/client"}}
	for to, from := range map[string]string{"10.244.2.3:80": "10.244.1.2", "[fd00:10:244:2::3]:80": "fd00:10:244:1::2"} {
		w, err := resolvePacket(names, spaces, nil, nil, PacketAsk{From: "pod/client", To: to})
		require.NoError(t, err)
		require.Equal(t, from, w.from.Address)
	}
	_, err := resolvePacket(names, spaces, nil, nil, PacketAsk{From: "pod/client", To: "10.244.2.3:80", Family: "IPv6"})
	require.EqualError(t, err, "10.244.2.3 is no address of IPv6")
	_, err = resolvePacket(names, spaces, nil, nil, PacketAsk{From: "pod/client", To: "fd00:10:244:2::3"})
	require.EqualError(t, err, "tcp to fd00:10:244:2::3 needs a port: write [fd00:10:244:2::3]:PORT")
}
