package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klab-project/klab/netlab/cni"
	"github.com/klab-project/klab/netlab/netns"
)

// joinMode before a container's name means its network, as docker has it.
const joinMode = "container:"

// publishedPorts has the node's ports that a container publishes, as it was told.
const publishedPorts = "klab/ports"

func (c *Single) checkNetwork() error {
	name, joins := strings.CutPrefix(c.Network, joinMode)
	switch {
	case joins && name == "":
		return fmt.Errorf("the network %q names no container: write %sNAME", c.Network, joinMode)
	case !joins && c.Network != hostMode && !slices.Contains(cni.Modes, c.Network):
		return fmt.Errorf("there is no network mode %q: use %s, %s, %sNAME", c.Network, hostMode, strings.Join(cni.Modes, ", "), joinMode)
	case c.Network == hostMode && len(c.Ports) > 0:
		return errors.New("a container on the node's own network has nothing to publish: its ports are the node's")
	case joins && len(c.Ports) > 0:
		return fmt.Errorf("ports are published by the container whose network it is: by %s, when it is made", name)
	case c.Network != "bridge" && len(c.Ports) > 0:
		return fmt.Errorf("ports can be published of the network bridge, not of %s", c.Network)
	}
	_, err := c.portMappings()
	return err
}

// portMappings are the ports that it publishes: "8080:80", "5353:53/udp".
func (c *Single) portMappings() (list []*cri.PortMapping, err error) {
	for _, p := range c.Ports {
		pair, proto, _ := strings.Cut(p, "/")
		of, to, _ := strings.Cut(pair, ":")
		m := &cri.PortMapping{Protocol: cri.Protocol_TCP}
		host, hostErr := strconv.ParseUint(of, 10, 16)
		port, portErr := strconv.ParseUint(to, 10, 16)
		switch {
		case hostErr != nil || portErr != nil || host == 0 || port == 0:
			return nil, fmt.Errorf("%q publishes no port: write PORT-OF-THE-NODE:PORT, such as 8080:80", p)
		case proto == "udp":
			m.Protocol = cri.Protocol_UDP
		case proto != "" && proto != "tcp":
			return nil, fmt.Errorf("%q publishes no port: behind the slash is tcp or udp", p)
		}
		m.HostPort, m.ContainerPort = int32(host), int32(port)
		list = append(list, m)
	}
	return list, nil
}

// free sees that no other container has published a port, that it is no pod's,
// and that nobody on the node listens there.
func (s *Singles) free(ctx context.Context, c Single) error {
	wanted, err := c.portMappings()
	if err != nil || len(wanted) == 0 {
		return err
	}
	all, err := s.List(ctx)
	if err != nil {
		return err
	}
	pods, err := s.pods(ctx)
	if err != nil {
		return fmt.Errorf("whether a pod of %s has one of the ports is not known: %w", s.node, err)
	}
	for _, m := range wanted {
		if pod := holderOf(pods, m); pod != "" {
			return fmt.Errorf("port %d of %s is already allocated: it is the hostPort of the pod %s; choose another one", m.HostPort, s.node, pod)
		}
		for _, other := range all {
			has, err := (&Single{Ports: strings.Fields(other.Annotations[publishedPorts])}).portMappings()
			if err == nil && slices.ContainsFunc(has, func(o *cri.PortMapping) bool { return o.HostPort == m.HostPort && o.Protocol == m.Protocol }) {
				return fmt.Errorf("port %d of %s is already allocated: by the container %s; choose another one, or remove that", m.HostPort, s.node, other.Labels[singleLabel])
			}
		}
		if m.Protocol != cri.Protocol_TCP {
			continue
		}
		l, err := netns.Listen(ctx, filepath.Join(s.d.nodeNS(s.node), "net"), "tcp", fmt.Sprint(":", m.HostPort))
		if err != nil {
			return fmt.Errorf("port %d of %s cannot be published: %w", m.HostPort, s.node, err)
		}
		l.Close()
	}
	return nil
}

// pods are the pods that the API has for the node and that are not over.
func (s *Singles) pods(ctx context.Context) ([]corev1.Pod, error) {
	client, err := s.d.clientset()
	if err != nil {
		return nil, err
	}
	list, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + s.node + ",status.phase!=Succeeded,status.phase!=Failed"})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// holderOf names the pod to which a port of its node leads, "" if there is none. A
// pod on the node's own network has it by listening.
func holderOf(pods []corev1.Pod, m *cri.PortMapping) string {
	for i := range pods {
		p := &pods[i]
		for c := range slices.Values(append(slices.Clone(p.Spec.InitContainers), p.Spec.Containers...)) {
			for _, port := range c.Ports {
				if !p.Spec.HostNetwork && port.HostPort == m.HostPort && strings.EqualFold(string(cmp.Or(port.Protocol, corev1.ProtocolTCP)), m.Protocol.String()) {
					return p.Namespace + "/" + p.Name
				}
			}
		}
	}
	return ""
}

// box is the sandbox that a container is made in: one of its own, or that of
// the container whose network it joins.
func (s *Singles) box(ctx context.Context, c Single) (id string, box *cri.PodSandboxConfig, own bool, err error) {
	name, joins := strings.CutPrefix(c.Network, joinMode)
	if !joins {
		box := s.sandbox(c)
		id, err := s.rt.RunPodSandbox(ctx, box)
		return id, box, true, err
	}
	other, err := s.find(ctx, name)
	if err != nil {
		return "", nil, false, err
	}
	return other.PodSandboxId, &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: name, Namespace: singlesIn, Uid: string(uuid.NewUUID())},
		LogDirectory: s.logs(c.Name),
	}, false, nil
}

// shared tells whether somebody else is in the container's sandbox.
func (s *Singles) shared(ctx context.Context, c *cri.Container) (bool, error) {
	all, err := s.List(ctx)
	return slices.ContainsFunc(all, func(o *cri.Container) bool { return o.Id != c.Id && o.PodSandboxId == c.PodSandboxId }), err
}
