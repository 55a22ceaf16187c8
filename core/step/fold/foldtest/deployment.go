package foldtest

import (
	"fmt"
	"time"

	"github.com/klab-project/klab/core/step"
)

const (
	deployments = "deployments.apps"
	replicasets = "replicasets.apps"
	dc          = "deployment-controller"
	rsc         = "replicaset-controller"
	scheduler   = "kube-scheduler"
	image       = "klab.local/tools:1"
)

type m = map[string]any
type l = []any

// Deployment is the story of `kubectl apply` of a Deployment of three pods on
// three nodes, held step by step, until all run; then one pod is deleted and
// the count comes back.
func Deployment() []*step.Event {
	t := &story{Script: NewScript(990)}
	t.nodes()
	t.Paused = true
	t.Fact(0, step.Event{Actor: "gate", Verb: step.ModeSet}, step.ModeDetail{Mode: step.Mode{State: step.Paused}})
	t.Fact(0, step.Event{Actor: "lesson", Verb: step.Mark}, step.MarkDetail{Name: "apply"})
	t.apply()
	pods := t.replicas(3, "k9q", "m4t", "7x2")
	for i, p := range pods {
		t.schedule(p, i+1)
	}
	t.Fact(0, step.Event{Actor: "lesson", Verb: step.Mark}, step.MarkDetail{Name: "scheduled"})
	for i, p := range pods {
		t.start(p, i+1, 2)
	}
	t.status(3)
	t.Fact(0, step.Event{Actor: "lesson", Verb: step.Mark}, step.MarkDetail{Name: "delete a pod"})
	t.remove(pods[1], 2)
	more := t.replicas(1, "zz5")
	t.schedule(more[0], 2)
	t.start(more[0], 2, 3)
	t.status(3)
	return t.Events
}

// Long repeats stories until there are at least n events.
func Long(n int) []*step.Event {
	var all []*step.Event
	for len(all) < n {
		base := uint64(len(all))
		for _, e := range Deployment() {
			c := *e
			c.Seq += base
			if c.Step != 0 {
				c.Step += base
			}
			if c.Parent != 0 {
				c.Parent += base
			}
			for i := range c.Cause {
				c.Cause[i] += base
			}
			all = append(all, &c)
		}
		all = append(all, &step.Event{Seq: uint64(len(all) + 1), Phase: step.PhaseFact, Verb: step.Reset, Class: step.ClassFact, Actor: "lab"})
	}
	return all
}

type story struct {
	*Script
	rsRV, dRV int64
	owner     uint64 // the reconcile that made the ReplicaSet's pods
	podRV     map[string]int64
}

var (
	webD  = step.Object{Resource: deployments, Namespace: "default", Name: "web"}
	webRS = step.Object{Resource: replicasets, Namespace: "default", Name: "web-5d4f8c6b9"}
)

func pod(suffix string) step.Object {
	return step.Object{Resource: "pods", Namespace: "default", Name: webRS.Name + "-" + suffix}
}

func node(i int) string { return fmt.Sprintf("node-%d", i) }

func (t *story) nodes() {
	t.podRV = map[string]int64{}
	t.Snapshot(step.Object{Resource: "namespaces", Name: "default"}, m{"kind": "Namespace", "metadata": m{"name": "default"}, "status": m{"phase": "Active"}})
	for i := 1; i <= 3; i++ {
		n := node(i)
		t.Snapshot(step.Object{Resource: "nodes", Name: n}, m{
			"apiVersion": "v1", "kind": "Node", "metadata": m{"name": n, "labels": m{"kubernetes.io/hostname": n}},
			"spec":   m{"podCIDR": fmt.Sprintf("10.244.%d.0/24", i)},
			"status": m{"addresses": l{m{"type": "InternalIP", "address": fmt.Sprintf("172.30.0.%d", 10+i)}}, "conditions": l{m{"type": "Ready", "status": "True", "reason": "KubeletReady"}}},
		})
		t.Fact(0, step.Event{Actor: "kubelet", Node: n, Verb: step.Connected}, nil)
		t.Fact(0, step.Event{Actor: "kubelet", Node: n, Verb: step.Links}, m{"links": l{
			m{"name": "lo", "type": "loopback", "up": true, "addresses": l{"127.0.0.1/8"}},
			m{"name": "eth0", "type": "veth", "up": true, "addresses": l{fmt.Sprintf("172.30.0.%d/24", 10+i)}},
			m{"name": "cni0", "type": "bridge", "up": true, "addresses": l{fmt.Sprintf("10.244.%d.1/24", i)}},
			m{"name": "flannel.1", "type": "vxlan", "up": true, "addresses": l{fmt.Sprintf("10.244.%d.0/32", i)}, "vni": 1},
		}, "routes": l{m{"dst": "default", "via": "172.30.0.1", "dev": "eth0"}, m{"dst": fmt.Sprintf("10.244.%d.0/24", i), "dev": "cni0"}}})
	}
	for _, w := range [][3]string{{dc, "", deployments}, {dc, "", replicasets}, {rsc, "", replicasets}, {rsc, "", "pods"}, {scheduler, "", "pods"}, {scheduler, "", "nodes"},
		{"kubelet", "node-1", "pods"}, {"kubelet", "node-2", "pods"}, {"kubelet", "node-3", "pods"}} {
		h := t.Hold(step.Event{Actor: w[0], Node: w[1], Verb: step.Watch, Object: step.Object{Resource: w[2]}, Quiet: true}, nil)
		t.emit(h.e, step.PhaseBegin, step.RequestDetail{Method: "GET", Path: "/watch", Agent: w[0]})
	}
	t.Tick(1200 * time.Millisecond)
}

func (t *story) apply() {
	t.Fact(0, step.Event{Actor: "kubectl", Verb: step.Ran}, step.RanDetail{Line: "kubectl apply -f web.yaml", Via: "exec", Took: step.Seconds(41 * time.Millisecond)})
	t.dRV = t.Write("kubectl", "", step.Create, webD, "", 0, m{
		"apiVersion": "apps/v1", "kind": "Deployment", "metadata": m{"labels": m{"app": "web"}, "generation": 1.0},
		"spec": m{"replicas": 3.0, "selector": m{"matchLabels": m{"app": "web"}}, "strategy": m{"type": "RollingUpdate"},
			"template": m{"metadata": m{"labels": m{"app": "web"}}, "spec": podSpec("")}},
	})
	d := t.Deliver(dc, "", "ADDED", webD, t.dRV)
	t.Run(d, nil)
	t.reconcile(dc, webD, []uint64{d.Step()}, 3, 0, "create ReplicaSet web-5d4f8c6b9", func(id uint64) {
		t.rsRV = t.Write(dc, "", step.Create, webRS, "", id, m{
			"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": m{"labels": m{"app": "web", "pod-template-hash": "5d4f8c6b9"}, "ownerReferences": l{m{"kind": "Deployment", "name": "web", "controller": true}}},
			"spec": m{"replicas": 3.0, "selector": m{"matchLabels": m{"app": "web"}}},
		})
	})
}

func podSpec(n string) m {
	s := m{"containers": l{m{"name": "web", "image": image, "args": l{"httpd", ":8080"}, "resources": m{"limits": m{"memory": "64Mi"}}}}, "restartPolicy": "Always"}
	if n != "" {
		s["nodeName"] = n
	}
	return s
}

func (t *story) reconcile(actor string, o step.Object, causes []uint64, want, have int64, plan string, f func(id uint64)) {
	t.Do(step.Event{Actor: actor, Verb: step.Reconcile, Object: o, Cause: causes}, nil, func(id uint64) any {
		if f != nil {
			f(id)
		}
		d := step.ReconcileDetail{Want: &want, Have: &have, Merged: len(causes)}
		if plan != "" {
			d.Plan = []string{plan}
		}
		return d
	})
}

// replicas is a turn of the ReplicaSet controller that makes n pods.
func (t *story) replicas(n int64, suffixes ...string) []step.Object {
	var d *Held
	if t.owner == 0 {
		d = t.Deliver(rsc, "", "ADDED", webRS, t.rsRV)
		again := t.Deliver(dc, "", "ADDED", webRS, t.rsRV)
		t.Run(d, nil)
		t.Run(again, nil)
	} else {
		d = t.Deliver(rsc, "", "DELETED", pod("m4t"), t.RV())
		t.Run(d, nil)
	}
	var pods []step.Object
	t.reconcile(rsc, webRS, []uint64{d.Step()}, 3, 3-n, fmt.Sprintf("create %d pods", n), func(id uint64) {
		t.owner = id
		for _, s := range suffixes {
			p := pod(s)
			t.podRV[p.Name] = t.Write(rsc, "", step.Create, p, "", id, m{
				"apiVersion": "v1", "kind": "Pod", "metadata": m{"labels": m{"app": "web", "pod-template-hash": "5d4f8c6b9"}, "ownerReferences": l{m{"kind": "ReplicaSet", "name": webRS.Name, "controller": true}}},
				"spec": podSpec(""), "status": m{"phase": "Pending", "qosClass": "Burstable"},
			})
			pods = append(pods, p)
		}
	})
	return pods
}

func (t *story) schedule(p step.Object, n int) {
	rv := t.podRV[p.Name]
	d := t.Deliver(scheduler, "", "ADDED", p, rv)
	own := t.Deliver(rsc, "", "ADDED", p, rv)
	t.Run(d, nil)
	t.Do(step.Event{Actor: scheduler, Verb: step.Schedule, Object: p, Cause: []uint64{d.Step()}}, nil, func(id uint64) any {
		var verdicts []step.Verdict
		for i := 1; i <= 3; i++ {
			verdicts = append(verdicts, step.Verdict{Node: node(i), Plugin: "NodeResourcesFit", Score: int64(90 - 10*((i+3-n)%3))})
		}
		t.Do(step.Event{Actor: scheduler, Verb: step.Bind, Object: p, Parent: id}, nil, func(bind uint64) any {
			t.podRV[p.Name] = t.Write(scheduler, "", step.Create, p, "binding", bind, m{"spec": m{"nodeName": node(n)}, "status": m{"conditions": l{m{"type": "PodScheduled", "status": "True"}}}})
			return nil
		})
		return step.ScheduleDetail{Verdicts: verdicts, Chosen: node(n)}
	})
	t.Run(own, nil)
}
