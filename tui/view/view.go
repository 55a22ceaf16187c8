// Package view says what each pane shows, as plain data made from a state.
//
// Each pane has a type and a function that makes it: [Cluster], [Pending],
// [Inspect], [Loops], [Network], [Objects], [Log], [Ran]; a [Track] knows where the
// steps are on the time axis. A [Mask] says what must stay hidden while a
// prediction is open: it is applied here, so that no way of drawing can leak.
// Nothing here knows of colours or sizes; names are cleaned when drawn.
package view

import (
	"strings"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
)

// State is how something is doing; each has a glyph, a colour and a word.
type State int

const (
	Idle State = iota
	Good
	Busy
	Held // waits for the learner
	Bad
)

var kinds = map[string]string{
	"pods": "Pod", "nodes": "Node", "namespaces": "Namespace", "deployments.apps": "Deployment", "replicasets.apps": "ReplicaSet",
	"configmaps": "ConfigMap", "events": "Event", "events.events.k8s.io": "Event", "leases.coordination.k8s.io": "Lease",
	"serviceaccounts": "ServiceAccount", "services": "Service", "endpoints": "Endpoints", "endpointslices.discovery.k8s.io": "EndpointSlice",
	"secrets": "Secret", "networkpolicies.networking.k8s.io": "NetworkPolicy", "ingresses.networking.k8s.io": "Ingress", "statefulsets.apps": "StatefulSet", "daemonsets.apps": "DaemonSet", "jobs.batch": "Job", "cronjobs.batch": "CronJob",
}

// Kind is the kind of a resource as people say it.
func Kind(resource string) string {
	if k, ok := kinds[resource]; ok {
		return k
	}
	if i := strings.IndexByte(resource, '.'); i > 0 {
		return resource[:i]
	}
	return resource
}

// Name is a short name for an object: Kind/name, with its namespace unless
// that is "default".
func Name(o step.Object) string {
	kind := Kind(o.Resource)
	name := o.Name
	if o.Namespace != "" && o.Namespace != "default" {
		name = o.Namespace + "/" + name
	}
	switch {
	case name == "" && kind == "":
		return ""
	case name == "":
		return kind
	case kind == "":
		return name
	}
	return kind + "/" + name
}

// KeyName is Name for a key.
func KeyName(k fold.Key) string {
	return Name(step.Object{Resource: k.Resource, Namespace: k.Namespace, Name: k.Name})
}

var short = map[string]string{
	"Pod": "po", "Node": "no", "Namespace": "ns", "Deployment": "deploy", "ReplicaSet": "rs", "ConfigMap": "cm", "Event": "ev",
	"ServiceAccount": "sa", "Service": "svc", "Endpoints": "ep", "StatefulSet": "sts", "DaemonSet": "ds", "CronJob": "cj",
}

// Verb is the word for what a request does to a subresource ("binding",
// "status", "scale"), or else its verb.
func Verb(v step.Verb, sub string) step.Verb {
	if sub == "" || v == step.Connect || v == step.Exec {
		return v
	}
	return step.Verb(sub)
}

// EventVerb is Verb for an event.
func EventVerb(e *step.Event) step.Verb {
	if e.Class != step.ClassRequest || len(e.Detail) == 0 {
		return e.Verb
	}
	var d step.RequestDetail
	if e.Phase == step.PhasePending {
		_ = e.Decode(&step.PendingDetail{Detail: &d})
	} else {
		_ = e.Decode(&d)
	}
	return Verb(e.Verb, d.Sub)
}

// Short is a name with kubectl's short name of its kind: po/web.
func Short(name string) string {
	kind, rest, ok := strings.Cut(name, "/")
	if s := short[kind]; ok && s != "" {
		return s + "/" + rest
	}
	return name
}

var actors = map[string]string{
	"kube-scheduler": "scheduler", "garbage-collector": "garbage", "pod-garbage-collector-controller": "pod-gc",
	"certificatesigningrequest-approving-controller": "csr-approving", "certificatesigningrequest-signing-controller": "csr-signing",
	"certificatesigningrequest-cleaner-controller": "csr-cleaner",
	"root-ca-certificate-publisher-controller":     "root-ca", "kube-apiserver": "API server",
}

// Actor is a short name for an actor.
func Actor(name, node string) string {
	if short, ok := actors[name]; ok {
		name = short
	}
	name = strings.TrimSuffix(name, "-controller")
	if node != "" {
		return name + "@" + node
	}
	return name
}

// Why is a chain's link with short names.
func shortNames(c fold.Cause) (object, actor string) {
	return Name(c.Object), Actor(c.Actor, c.Node)
}
