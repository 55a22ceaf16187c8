package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/klab-project/klab/netlab/overlay"
)

// The ConfigMap that says which overlay the cluster has, as flannel names it.
const (
	flannelConfig = "kube-flannel-cfg"
	netConfKey    = "net-conf.json"
)

// ensureNetConf makes the ConfigMap of a cluster that has none.
func ensureNetConf(ctx context.Context, c *rest.Config, network6 netip.Prefix) error {
	client, err := kubernetes.NewForConfig(c)
	if err != nil {
		return err
	}
	conf := overlay.NewNetConf(podNet, network6, overlay.Types[0])
	_, err = client.CoreV1().ConfigMaps(metav1.NamespaceSystem).Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: flannelConfig, Labels: map[string]string{"app": "flannel", "k8s-app": "flannel", "tier": "node"}},
		Data:       map[string]string{netConfKey: conf.Text()},
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("make the ConfigMap %s: %w", flannelConfig, err)
	}
	return nil
}

// wanted is the backend that is configured; empty if there is no configuration,
// or one that is wrong: then there is an event, and all stays as it is.
func (f *flannel) wanted(ctx context.Context) string {
	obj, ok, _ := f.settings.GetByKey(metav1.NamespaceSystem + "/" + flannelConfig)
	if !ok {
		return ""
	}
	m := obj.(*corev1.ConfigMap)
	conf, err := overlay.ParseNetConf(m.Data[netConfKey], podNet, f.six)
	if err == nil {
		f.refused = ""
		return conf.Backend.Type
	}
	if f.refused != m.ResourceVersion {
		f.refused = m.ResourceVersion
		if f.first() != f.a.name {
			return ""
		}
		f.loop.Events.Eventf(ctx, m, corev1.EventTypeWarning, "InvalidConfiguration", "%v. The overlay stays as it is.", err)
	}
	return ""
}

// Overlay is the state of a cluster's overlay.
type Overlay struct {
	Configured string // the backend that the ConfigMap names
	Wrong      error  // what is wrong with the ConfigMap
	DualStack  bool   // pods have IPv6 too
	Nodes      []overlay.Lease
}

// ReadOverlay reads the state of the cluster's overlay from the API.
func ReadOverlay(ctx context.Context, d Dir) (o Overlay, err error) {
	client, err := d.clientset()
	if err != nil {
		return o, err
	}
	config, err := d.LoadConfig()
	if err != nil {
		return o, err
	}
	return readOverlay(ctx, client, config.podNet6())
}

func readOverlay(ctx context.Context, client kubernetes.Interface, network6 netip.Prefix) (o Overlay, err error) {
	m, err := client.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(ctx, flannelConfig, metav1.GetOptions{})
	if err != nil {
		return o, err
	}
	conf, wrong := overlay.ParseNetConf(m.Data[netConfKey], podNet, network6)
	o.Configured, o.Wrong, o.DualStack = conf.Backend.Type, wrong, network6.IsValid()
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return o, err
	}
	for _, n := range nodes.Items {
		o.Nodes = append(o.Nodes, leaseOf(&n))
	}
	return o, nil
}

// SetBackend chooses another overlay backend, and waits until all nodes that
// are Ready use it.
func SetBackend(ctx context.Context, d Dir, kind string) error {
	if d.Daemon() == 0 {
		return d.notUp()
	}
	config, err := d.LoadConfig()
	if err != nil {
		return err
	}
	conf := overlay.NewNetConf(podNet, config.podNet6(), kind)
	if _, err := overlay.ParseNetConf(conf.Text(), podNet, config.podNet6()); err != nil {
		return fmt.Errorf("there is no backend %q: choose one of %s", kind, strings.Join(overlay.Types, ", "))
	}
	client, err := d.clientset()
	if err != nil {
		return err
	}
	patch, err := json.Marshal(map[string]any{"data": map[string]string{netConfKey: conf.Text()}})
	if err != nil {
		return err
	}
	_, err = client.CoreV1().ConfigMaps(metav1.NamespaceSystem).Patch(ctx, flannelConfig, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return err
	}
	return awaitBackend(ctx, client, kind)
}

// backendPatience is how long SetBackend waits for the nodes.
const backendPatience = time.Minute

func awaitBackend(ctx context.Context, client kubernetes.Interface, kind string) error {
	ctx, cancel := context.WithTimeout(ctx, backendPatience)
	defer cancel()
	var late []string
	for {
		nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil && ctx.Err() == nil {
			return err
		}
		if err == nil {
			late = nil
			for _, n := range nodes.Items {
				if isReady(&n) && leaseOf(&n).BackendType != kind {
					late = append(late, n.Name)
				}
			}
			if len(late) == 0 {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			slices.Sort(late)
			return fmt.Errorf("the ConfigMap %s says %s, but not all nodes use it yet (%s; is the lab held?): \"klab kubectl describe node NODE\" shows what is wrong",
				flannelConfig, kind, strings.Join(late, ", "))
		case <-time.After(20 * time.Millisecond):
		}
	}
}
