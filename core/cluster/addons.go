package cluster

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/klab-project/klab/core/api"
)

// addonFiles are what a cluster gets besides its control plane: ordinary
// objects, which a learner may change, break and delete.
//
//go:embed addons/*.yaml addons/optional/*.yaml
var addonFiles embed.FS

// dnsAddon is the cluster's DNS server, dnsIP its Service's address.
const (
	dnsAddon = "dns"
	dnsIP    = "10.96.0.10"
)

// Addons lists the names of the add-ons that a cluster gets unless it is told
// otherwise.
func Addons() []string { return manifests("addons") }

// OptionalAddons are those that a cluster gets when it is asked to.
func OptionalAddons() []string { return manifests("addons/optional") }

func manifests(dir string) (names []string) {
	files, _ := addonFiles.ReadDir(dir)
	for _, f := range files {
		if !f.IsDir() {
			names = append(names, strings.TrimSuffix(f.Name(), ".yaml"))
		}
	}
	return names
}

// AddonManifest is an add-on as YAML, as "kubectl apply" takes it.
func AddonManifest(name string) ([]byte, error) {
	for _, dir := range []string{"addons", "addons/optional"} {
		if text, err := addonFiles.ReadFile(path.Join(dir, name+".yaml")); err == nil {
			return text, nil
		}
	}
	return nil, fmt.Errorf("there is no add-on %q; there are %s", name, strings.Join(append(Addons(), OptionalAddons()...), ", "))
}

// withAddons adds optional add-ons to what the cluster gets.
func (c *Config) withAddons(names []string) error {
	for _, name := range names {
		if _, err := AddonManifest(name); err != nil {
			return err
		}
		if slices.Contains(OptionalAddons(), name) && !slices.Contains(c.With, name) {
			c.With = append(c.With, name)
		}
	}
	return nil
}

// checkWithout refuses to leave out what is not known, or there already.
func (d Dir) checkWithout(c Config, o UpOptions) error {
	for _, name := range o.Without {
		if _, err := AddonManifest(name); err != nil {
			return err
		}
		if !slices.Contains(c.Without, name) {
			return fmt.Errorf("the cluster %q has the add-on %s from its beginning: \"klab addon %s | klab kubectl delete -f -\" removes it, and it stays removed", d.Name, name, name)
		}
	}
	return nil
}

// addonObjects reads a manifest.
func addonObjects(manifest []byte) (list []*unstructured.Unstructured, err error) {
	for docs := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifest), 4096); ; {
		var o unstructured.Unstructured
		if err := docs.Decode(&o.Object); errors.Is(err, io.EOF) {
			return list, nil
		} else if err != nil {
			return nil, err
		}
		list = append(list, &o)
	}
}

// addonKey names an object of an add-on in the list of those that were made.
func addonKey(o *unstructured.Unstructured) string {
	return strings.Join([]string{o.GetKind(), o.GetNamespace(), o.GetName()}, "/")
}

func addonRow(o *unstructured.Unstructured) *api.Resource {
	for _, r := range api.Resources() {
		if r.GVK() == o.GroupVersionKind() {
			return r
		}
	}
	return nil
}

// startAddons makes the add-ons' objects while the nodes start. Each is made
// once in a cluster's life: what the learner has deleted stays deleted.
func (d *daemon) startAddons(ctx context.Context, own *rest.Config) {
	d.hadAddons = len(d.loadMade()) > 0
	d.work.Go(func() {
		for _, name := range d.addons() {
			if err := d.applyAddon(ctx, own, name); err != nil && ctx.Err() == nil {
				slog.Error("add-on", "name", name, "err", err)
			}
		}
	})
}

func (d *daemon) applyAddon(ctx context.Context, own *rest.Config, name string) error {
	manifest, err := AddonManifest(name)
	if err != nil {
		return err
	}
	objects, err := addonObjects(manifest)
	if err != nil {
		return fmt.Errorf("add-on %s: %w", name, err)
	}
	client, err := dynamic.NewForConfig(own)
	if err != nil {
		return err
	}
	made := d.loadMade()
	for _, o := range objects {
		if slices.Contains(made, addonKey(o)) {
			continue
		}
		if o.GetKind() == "Deployment" && d.nodesOn() > 0 {
			// Pods that no node is there for yet would wait for the scheduler's back-off.
			if err := awaitNodes(ctx, own, d.nodesOn()); err != nil {
				return err
			}
		}
		row := addonRow(o)
		if row == nil {
			return fmt.Errorf("add-on %s: %s is not served", name, addonKey(o))
		}
		_, err := client.Resource(row.GVR()).Namespace(o.GetNamespace()).Create(ctx, o, metav1.CreateOptions{FieldManager: "klab"})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("create %s: %w", addonKey(o), err)
		}
		made = append(made, addonKey(o))
		if err := d.saveMade(made); err != nil {
			return err
		}
	}
	return nil
}

// loadMade are the objects of add-ons that this cluster has had.
func (d *daemon) loadMade() []string {
	text, err := os.ReadFile(d.addonsFile())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		slog.Error("what was deleted of add-ons comes back", "err", err)
	}
	return strings.Fields(string(text))
}

func (d *daemon) saveMade(made []string) error {
	return writeFile(d.addonsFile(), []byte(strings.Join(made, "\n")+"\n"), 0o644)
}

// addonPatience is how long "up --wait" waits for add-ons that start for the
// first time. One that a learner has broken is not waited for.
const addonPatience = time.Minute

// awaitAddons waits until one pod of each add-on is ready, if this is the
// cluster's first start.
func (d *daemon) awaitAddons(ctx context.Context, own *rest.Config) {
	if d.hadAddons {
		return
	}
	limited, cancel := context.WithTimeout(ctx, addonPatience)
	defer cancel()
	client, err := kubernetes.NewForConfig(own)
	if err != nil {
		return
	}
	for _, name := range d.addons() {
		manifest, err := AddonManifest(name)
		if err != nil {
			continue
		}
		objects, _ := addonObjects(manifest)
		for _, o := range objects {
			if o.GetKind() == "Deployment" && !awaitReplica(limited, client, o.GetNamespace(), o.GetName()) && ctx.Err() == nil {
				slog.Warn("the add-on is not ready", "name", name, "after", addonPatience)
			}
		}
	}
}

// awaitReplica waits until one pod of a Deployment is ready.
func awaitReplica(ctx context.Context, client kubernetes.Interface, namespace, name string) bool {
	events, err := client.AppsV1().Deployments(namespace).Watch(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()})
	if err != nil {
		return false
	}
	defer events.Stop()
	for {
		select {
		case e, ok := <-events.ResultChan():
			if !ok {
				return false
			}
			if it, is := e.Object.(*appsv1.Deployment); is && it.Status.ReadyReplicas > 0 {
				return true
			}
		case <-ctx.Done():
			return false
		}
	}
}

// addons are the names of those that the cluster is to have.
func (d *daemon) addons() []string {
	return slices.DeleteFunc(append(Addons(), d.cfg.With...), func(name string) bool { return slices.Contains(d.cfg.Without, name) })
}
