package foldtest

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/klab-project/klab/core/step"
)

// start is what the kubelet of node n does with pod p, whose address ends in host.
func (t *story) start(p step.Object, n, host int) {
	d := t.Deliver("kubelet", node(n), "ADDED", p, t.podRV[p.Name])
	t.Run(d, nil)
	ip := fmt.Sprintf("10.244.%d.%d", n, host)
	t.Do(step.Event{Actor: "kubelet", Node: node(n), Verb: step.Sync, Object: p, Cause: []uint64{d.Step()}}, nil, func(id uint64) any {
		t.sandbox(p, n, id, ip)
		t.container(p, n, id)
		t.podRV[p.Name] = t.Write("kubelet", node(n), step.Patch, p, "status", id, m{"status": m{
			"phase": "Running", "podIP": ip, "hostIP": fmt.Sprintf("172.30.0.%d", 10+n),
			"conditions":        l{m{"type": "PodScheduled", "status": "True"}, m{"type": "Initialized", "status": "True"}, m{"type": "Ready", "status": "True"}},
			"containerStatuses": l{m{"name": "web", "ready": true, "restartCount": 0.0, "image": image, "state": m{"running": m{"startedAt": "2026-01-01T00:00:01Z"}}}},
		}})
		return step.ReconcileDetail{Plan: []string{"create sandbox", "start container web"}}
	})
}

func (t *story) hand(p step.Object, n int, verb step.Verb, parent uint64, detail step.RuntimeDetail, f func(id uint64) any) {
	t.Do(step.Event{Actor: "kubelet", Node: node(n), Verb: verb, Object: p, Parent: parent}, detail, func(id uint64) any {
		t.Tick(2 * time.Millisecond)
		if f != nil {
			return f(id)
		}
		return detail
	})
}

func (t *story) ran(n int, in uint64, p step.Object, via, line string) {
	t.Fact(in, step.Event{Actor: "kubelet", Node: node(n), Verb: step.Ran, Object: p}, step.RanDetail{Line: line, Via: via, Took: step.Seconds(700 * time.Microsecond)})
}

func (t *story) sandbox(p step.Object, n int, parent uint64, ip string) {
	box := "sb" + p.Name[len(p.Name)-3:]
	t.hand(p, n, step.RunPodSandbox, parent, step.RuntimeDetail{Pod: "default/" + p.Name}, func(id uint64) any {
		t.ran(n, id, p, "libcontainer", "runc create "+box+" && runc start "+box)
		t.Do(step.Event{Actor: "kubelet", Node: node(n), Verb: step.CNIAdd, Object: p, Parent: id}, nil, func(cni uint64) any {
			t.ran(n, cni, p, "netlink", "ip link add veth"+box+" type veth peer name eth0 netns "+box)
			t.ran(n, cni, p, "netlink", "ip link set veth"+box+" master cni0 up")
			t.ran(n, cni, p, "netlink", "ip -n "+box+" addr add "+ip+"/24 dev eth0")
			t.Tick(3 * time.Millisecond)
			result, _ := json.Marshal(m{"cniVersion": "1.1.0", "ips": l{m{"address": ip + "/24", "gateway": fmt.Sprintf("10.244.%d.1", n)}}, "interfaces": l{m{"name": "cni0"}, m{"name": "veth" + box}, m{"name": "eth0", "sandbox": "/proc/4711/ns/net"}}})
			return step.CNIDetail{Pod: "default/" + p.Name, IfName: "eth0", NetNS: "/proc/4711/ns/net", Address: []string{ip}, Result: result}
		})
		return step.RuntimeDetail{Pod: "default/" + p.Name, ID: box, PID: 4711}
	})
}

func (t *story) container(p step.Object, n int, parent uint64) {
	if n == 1 {
		t.hand(p, n, step.PullImage, parent, step.RuntimeDetail{Image: image}, func(id uint64) any {
			t.ran(n, id, p, "http", "curl http://172.30.0.2:5000/v2/tools/manifests/1")
			t.Tick(12 * time.Millisecond)
			return step.RuntimeDetail{Image: image, Bytes: 4 << 20}
		})
	}
	d := step.RuntimeDetail{Pod: "default/" + p.Name, Container: "web", Image: image}
	t.hand(p, n, step.CreateContainer, parent, d, func(uint64) any {
		d.ID = "c" + p.Name[len(p.Name)-3:]
		return d
	})
	t.hand(p, n, step.StartContainer, parent, d, func(id uint64) any {
		t.ran(n, id, p, "libcontainer", "runc start "+d.ID)
		d.PID = 4720
		return d
	})
}

// status is the way of a pod's status back up to the Deployment.
func (t *story) status(ready float64) {
	d := t.Deliver(rsc, "", "MODIFIED", pod("7x2"), t.RV())
	t.Run(d, nil)
	var rv int64
	t.reconcile(rsc, webRS, []uint64{d.Step()}, 3, 3, "", func(id uint64) {
		rv = t.Write(rsc, "", step.Update, webRS, "status", id, m{"status": m{"replicas": 3.0, "readyReplicas": ready, "availableReplicas": ready}})
	})
	d = t.Deliver(dc, "", "MODIFIED", webRS, rv)
	t.Run(d, nil)
	t.reconcile(dc, webD, []uint64{d.Step()}, 3, 3, "", func(id uint64) {
		t.Write(dc, "", step.Update, webD, "status", id, m{"status": m{"replicas": 3.0, "readyReplicas": ready, "updatedReplicas": ready}})
	})
}

// remove is kubectl delete pod and what the node does then.
func (t *story) remove(p step.Object, n int) {
	t.Fact(0, step.Event{Actor: "kubectl", Verb: step.Ran}, step.RanDetail{Line: "kubectl delete pod " + p.Name, Via: "exec", Took: step.Seconds(30 * time.Millisecond)})
	rv := t.Write("kubectl", "", step.Update, p, "", 0, m{"metadata": m{"deletionTimestamp": "2026-01-01T00:00:05Z", "deletionGracePeriodSeconds": 30.0}})
	d := t.Deliver("kubelet", node(n), "MODIFIED", p, rv)
	own := t.Deliver(rsc, "", "MODIFIED", p, rv)
	t.Run(d, nil)
	t.Do(step.Event{Actor: "kubelet", Node: node(n), Verb: step.Sync, Object: p, Cause: []uint64{d.Step()}}, nil, func(id uint64) any {
		exit := 143
		c := step.RuntimeDetail{Pod: "default/" + p.Name, Container: "web", ID: "c" + p.Name[len(p.Name)-3:]}
		t.hand(p, n, step.StopContainer, id, c, func(in uint64) any {
			t.ran(n, in, p, "libcontainer", "kill -TERM 4720")
			c.ExitCode, c.Reason = &exit, "Error"
			return c
		})
		t.hand(p, n, step.StopPodSandbox, id, c, func(in uint64) any {
			t.Do(step.Event{Actor: "kubelet", Node: node(n), Verb: step.CNIDel, Object: p, Parent: in}, nil, nil)
			return nil
		})
		t.hand(p, n, step.RemovePodSandbox, id, c, nil)
		t.Write("kubelet", node(n), step.Delete, p, "", id, nil)
		return step.ReconcileDetail{Plan: []string{"stop container web", "remove sandbox"}}
	})
	t.Run(own, nil)
}
