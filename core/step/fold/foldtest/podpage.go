package foldtest

import (
	"time"

	"github.com/klab-project/klab/core/step"
)

// PagePod is the pod of Pod's story.
var PagePod = step.Object{Resource: "pods", Namespace: "default", Name: "shop"}

// Pod is the story of one pod with all that is seen of it: an init container,
// a web server that is probed, and a container beside it that is throttled and
// crashes, until its restart is put off.
func Pod() []*step.Event {
	t := &story{Script: NewScript(40)}
	t.nodes()
	t.Write("kubectl", "", step.Create, PagePod, "", 0, m{"apiVersion": "v1", "kind": "Pod", "spec": shopSpec(), "status": m{"phase": "Pending", "qosClass": "Burstable"}})
	t.Tick(20 * time.Millisecond)
	t.Write("kube-scheduler", "", step.Create, PagePod, "binding", 0, m{"spec": m{"nodeName": "node-1"}, "status": m{"conditions": l{cond("PodScheduled", "True", "")}}})
	t.Tick(30 * time.Millisecond)
	t.shopTurn([]string{"create sandbox", "start container prep"}, func(id uint64) {
		t.sandbox(PagePod, 1, id, "10.244.1.2")
		t.shopStatus(id, "Pending", "False ContainersNotReady", status("prep", m{"running": m{}}, 0), status("web", waits("PodInitializing", ""), 0), status("side", waits("PodInitializing", ""), 0))
	})
	t.Tick(120 * time.Millisecond)
	t.shopTurn([]string{"start container web", "start container side"}, func(id uint64) {
		t.container(PagePod, 1, id)
		t.shopStatus(id, "Running", "False ContainersNotReady", status("prep", ended(0, "Completed"), 0), status("web", m{"running": m{}}, 0), status("side", m{"running": m{}}, 0))
	})
	t.shopSeen("web", "side")
	t.Tick(900 * time.Millisecond)
	t.shopProbe("readiness", "success", 1)
	t.shopProbe("liveness", "success", 1)
	t.shopTurn(nil, func(id uint64) {
		t.shopStatus(id, "Running", "True", status("prep", ended(0, "Completed"), 0), status("web", m{"running": m{}}, 0), status("side", m{"running": m{}}, 0))
	})
	t.shopUsage(98, 60, 58, true)
	t.Tick(2 * time.Second)
	exit := 137
	t.Fact(0, step.Event{Actor: "kubelet", Node: "node-1", Verb: step.Exited, Object: PagePod}, step.RuntimeDetail{Pod: "shop", Container: "side", ID: "c2", ExitCode: &exit, Reason: "OOMKilled"})
	crashed := status("side", waits("CrashLoopBackOff", "back-off 10s restarting failed container=side pod=shop_default(uid)"), 1)
	crashed["lastState"] = ended(137, "OOMKilled")
	t.shopTurn([]string{"start container side"}, func(id uint64) {
		t.shopStatus(id, "Running", "False ContainersNotReady", status("prep", ended(0, "Completed"), 0), status("web", m{"running": m{}}, 0), crashed)
	})
	t.shopSeen("web")
	t.Tick(1500 * time.Millisecond)
	t.shopProbe("liveness", "failure", 1)
	t.shopUsage(3, 0, 0, false)
	t.Fact(0, step.Event{Actor: "clock", Verb: step.Timers}, step.TimersDetail{Timers: []step.Pending{
		{ID: 900, Actor: "kubelet", Node: "node-1", Verb: step.Fire, Class: step.ClassTimer, Object: PagePod, Due: step.Seconds(t.at + 8*time.Second)},
	}})
	return t.Events
}

func shopSpec() m {
	c := func(name string, args l, mounts l) m {
		return m{"name": name, "image": image, "args": args, "volumeMounts": mounts, "resources": m{"limits": m{"cpu": "200m", "memory": "64Mi"}}}
	}
	return m{
		"restartPolicy": "Always", "initContainers": l{c("prep", l{"true"}, nil)},
		"containers": l{c("web", l{"httpd", ":8080"}, l{m{"name": "goods", "mountPath": "/goods", "readOnly": true}, m{"name": "spool", "mountPath": "/spool"}}), c("side", l{"eatmem", "80Mi"}, l{m{"name": "spool", "mountPath": "/spool"}})},
		"volumes":    l{m{"name": "goods", "configMap": m{"name": "goods"}}, m{"name": "spool", "emptyDir": m{}}},
	}
}

func cond(kind, value, reason string) m {
	c := m{"type": kind, "status": value}
	if reason != "" {
		c["reason"] = reason
	}
	return c
}

func waits(reason, message string) m {
	w := m{"reason": reason}
	if message != "" {
		w["message"] = message
	}
	return m{"waiting": w}
}

func ended(code float64, reason string) m {
	return m{"terminated": m{"exitCode": code, "reason": reason}}
}

func status(name string, state m, restarts float64) m {
	_, running := state["running"]
	return m{"name": name, "image": image, "state": state, "ready": running, "restartCount": restarts}
}

func (t *story) shopTurn(plan []string, f func(id uint64)) {
	t.Do(step.Event{Actor: "kubelet", Node: "node-1", Verb: step.Sync, Object: PagePod}, nil, func(id uint64) any {
		f(id)
		return step.ReconcileDetail{Plan: plan}
	})
}

func (t *story) shopStatus(id uint64, phase, ready string, init, web, side m) {
	value, reason := ready, ""
	if len(ready) > 5 {
		value, reason = ready[:5], ready[6:]
	}
	initialized := "True"
	if _, ok := init["state"].(m)["running"]; ok {
		initialized = "False"
	}
	t.Write("kubelet", "node-1", step.Patch, PagePod, "status", id, m{"status": m{
		"phase": phase, "podIP": "10.244.1.2",
		"conditions":            l{cond("PodScheduled", "True", ""), cond("PodReadyToStartContainers", "True", ""), cond("Initialized", initialized, ""), cond("Ready", value, reason), cond("ContainersReady", value, reason)},
		"initContainerStatuses": l{init}, "containerStatuses": l{web, side},
	}})
}

func (t *story) shopFact(verb step.Verb, detail any) {
	t.Fact(0, step.Event{Actor: "kubelet", Node: "node-1", Verb: verb, Object: PagePod}, detail)
}

func (t *story) shopProbe(kind, result string, streak int) {
	d := step.ProbeDetail{Container: "web", ID: "c1", Kind: kind, How: "http", Target: ":8080/" + kind, Result: result, Streak: streak, Threshold: 3, Period: step.Seconds(2 * time.Second)}
	if result != "success" {
		d.Output = "HTTP probe failed with statuscode: 500"
	}
	t.shopFact(step.Probe, d)
}

// shopSeen is what the kernel has of the pod while these containers run.
func (t *story) shopSeen(names ...string) {
	d := step.PodSeenDetail{ID: "sbhop"}
	for i, kind := range []string{"net", "ipc", "uts", "pid", "mnt", "user"} {
		own := uint64(4026532170 + i)
		n := step.SeenNamespace{Kind: kind, Inode: own, Node: true}
		switch kind {
		case "user":
			n.Pause, n.Containers = true, names
			d.Namespaces = append(d.Namespaces, n)
		case "pid", "mnt":
			d.Namespaces = append(d.Namespaces, n, step.SeenNamespace{Kind: kind, Inode: own + 440, Pause: true})
			for j, c := range names {
				d.Namespaces = append(d.Namespaces, step.SeenNamespace{Kind: kind, Inode: own + 460 + uint64(10*j), Containers: []string{c}})
			}
		default:
			d.Namespaces = append(d.Namespaces, n, step.SeenNamespace{Kind: kind, Inode: own + 440, Pause: true, Containers: names})
		}
	}
	d.Containers = []step.SeenContainer{{ID: "sbhop", PID: 4711}}
	procs := []step.SeenProcess{{PID: 4711, Inner: 1, UID: 65535, Comm: "pause", Command: "/pause", Threads: 1}}
	const base = "/klab-lab/node-1/kubepods"
	d.Cgroups = []step.SeenCgroup{{Path: base, Limits: map[string]string{"memory.limit_in_bytes": "4294967296"}}, {Path: base + "/burstable"},
		{Path: base + "/burstable/pod41", Pod: true, Limits: map[string]string{"cpu.shares": "204"}}}
	for i, name := range names {
		pid := 4720 + 10*i
		d.Containers = append(d.Containers, step.SeenContainer{Name: name, ID: "c" + string(rune('1'+i)), PID: pid, More: 19,
			Root: &step.SeenRoot{Type: "overlay", Lower: []string{"layers/77aa01", "layers/16e901"}, Upper: "c/c1/up", Work: "c/c1/work", Merged: "c/c1/fs"},
			Mounts: []step.SeenMount{{Target: "/proc", Type: "proc", Source: "proc"}, {Target: "/dev", Type: "tmpfs", Source: "tmpfs"},
				{Target: "/goods", Type: "ext4", Source: "pods/41/volumes/kubernetes.io~configmap/goods", Volume: "goods", Kind: "configmap", ReadOnly: true},
				{Target: "/spool", Type: "ext4", Source: "pods/41/volumes/kubernetes.io~empty-dir/spool", Volume: "spool", Kind: "empty-dir"},
				{Target: "/host", Type: "ext4", Source: "/srv/data", Propagation: "shared:7"}, {Target: "/etc/hosts", Type: "ext4", Source: "pods/41/etc-hosts"}}})
		procs = append(procs, step.SeenProcess{PID: pid, Parent: 4700, Inner: 1, Container: name, Comm: "httpd", Command: map[string]string{"web": "httpd :8080", "side": "sh -c eatmem 80Mi"}[name], Threads: 6})
		if name == "side" {
			procs = append(procs, step.SeenProcess{PID: pid + 5, Parent: pid, Inner: 7, Container: name, UID: 1000, Comm: "eatmem", Command: "eatmem 80Mi", Threads: 5})
		}
		d.Cgroups = append(d.Cgroups, step.SeenCgroup{Path: base + "/burstable/pod41/c" + name, Container: name,
			Limits: map[string]string{"cpu.cfs_quota_us": "20000", "cpu.cfs_period_us": "100000", "cpu.shares": "102", "memory.limit_in_bytes": "67108864", "pids.max": "4096"}})
	}
	t.shopFact(step.PodSeen, d)
	t.shopFact(step.Processes, step.ProcessesDetail{Processes: procs})
}

// shopUsage is what the pod uses; side is of the container that eats memory.
func (t *story) shopUsage(milli, sideMilli, sideMiB int64, both bool) {
	d := step.UsageDetail{Pod: step.CgroupUsage{Milli: milli, CPU: step.Seconds(time.Second), Memory: (4 + sideMiB) << 20, Pids: 12}, Containers: map[string]step.CgroupUsage{
		"web": {Milli: milli - sideMilli, Memory: 4 << 20, Pids: 6},
	}}
	if both {
		d.Containers["side"] = step.CgroupUsage{Milli: sideMilli, Memory: sideMiB << 20, Pids: 5, Periods: 40, Throttled: 31, OOMKills: 1}
		d.Pod.OOMKills = 1
	}
	t.shopFact(step.Usage, d)
}
