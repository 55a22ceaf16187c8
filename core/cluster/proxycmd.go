package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/klab-project/klab/netlab/proxy"
)

// proxyPatience is how long a node's kube-proxy may take to do what was asked.
const proxyPatience = time.Minute

// NodeProxy is a node's kube-proxy.
type NodeProxy struct {
	Node string
	Off  bool // the node is
	ProxyStatus
}

// Proxies tells how the kube-proxies of all nodes are.
func Proxies(ctx context.Context, d Dir) ([]NodeProxy, error) {
	client, err := d.clientset()
	if err != nil {
		return nil, err
	}
	return proxies(ctx, d, client)
}

func (d Dir) clientset() (kubernetes.Interface, error) {
	if d.Daemon() == 0 {
		return nil, d.notUp()
	}
	config, err := d.RESTConfig()
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(config)
}

func proxies(ctx context.Context, d Dir, client kubernetes.Interface) (list []NodeProxy, err error) {
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, n := range nodes.Items {
		one := NodeProxy{Node: n.Name, Off: d.isOff(n.Name)}
		_ = json.Unmarshal([]byte(n.Annotations[proxyIs]), &one.ProxyStatus) // nothing yet, while the node is new
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b NodeProxy) int {
		return cmp.Or(cmp.Compare(len(a.Node), len(b.Node)), cmp.Compare(a.Node, b.Node))
	})
	return list, nil
}

// SetProxyMode changes the mode of all kube-proxies, and returns when those
// that run have it. If one of them cannot, all stay as they are, and the error
// says why.
func SetProxyMode(ctx context.Context, d Dir, mode proxy.Mode) error {
	client, err := d.clientset()
	if err != nil {
		return err
	}
	maps := client.CoreV1().ConfigMaps(metav1.NamespaceSystem)
	cm, err := maps.Get(ctx, proxyConfigName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	before := cm.Data[proxyConfigKey]
	if cm.Data, err = withMode(cm.Data, mode); err != nil {
		return err
	}
	if cm, err = maps.Update(ctx, cm, metav1.UpdateOptions{}); err != nil {
		return err
	}
	var failed []string
	err = awaitProxies(ctx, d, client, func(p NodeProxy) bool {
		if p.Off || p.Stopped {
			return true
		}
		if p.Wanted == string(mode) && p.Failed != "" && !slices.Contains(failed, p.Failed) {
			failed = append(failed, p.Failed)
		}
		return p.Wanted == string(mode) && (p.Mode == string(mode) || p.Failed != "")
	})
	if len(failed) == 0 {
		return err
	}
	cm.Data[proxyConfigKey] = before
	if _, back := maps.Update(ctx, cm, metav1.UpdateOptions{}); back != nil {
		return errors.Join(err, back)
	}
	return fmt.Errorf("%s; all nodes stay as they were", strings.Join(failed, "; "))
}

func withMode(data map[string]string, mode proxy.Mode) (map[string]string, error) {
	config := map[string]any{}
	if err := yaml.Unmarshal([]byte(data[proxyConfigKey]), &config); err != nil {
		return nil, fmt.Errorf("%s of the ConfigMap %s: %w", proxyConfigKey, proxyConfigName, err)
	}
	config["mode"] = string(mode)
	text, err := yaml.Marshal(config)
	if data == nil {
		data = map[string]string{}
	}
	data[proxyConfigKey] = string(text)
	return data, err
}

// RunProxy starts or stops the kube-proxy of one node, and returns when it is
// so. The rules of one that stops stay, and age.
func RunProxy(ctx context.Context, d Dir, node string, run bool) error {
	client, err := d.clientset()
	if err != nil {
		return err
	}
	var wanted any
	if !run {
		wanted = proxyStopped
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]any{proxyWanted: wanted}}})
	if err != nil {
		return err
	}
	if _, err := client.CoreV1().Nodes().Patch(ctx, node, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return err
	}
	return awaitProxies(ctx, d, client, func(p NodeProxy) bool { return p.Node != node || p.Off || p.Stopped != run && p.Mode != "" })
}

// awaitProxies returns when done says so of all nodes.
func awaitProxies(ctx context.Context, d Dir, client kubernetes.Interface, done func(NodeProxy) bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, proxyPatience, errors.New("the kube-proxies do not answer; is the lab held? \"klab status\" says"))
	defer cancel()
	for {
		list, err := proxies(ctx, d, client)
		if err == nil && !slices.ContainsFunc(list, func(p NodeProxy) bool { return !done(p) }) {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
}
