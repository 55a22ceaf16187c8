package foldtest

import (
	"encoding/json"
	"time"

	"github.com/klab-project/klab/core/step"
)

// Calls is the story of a pod whose network fails once, because a plugin of
// the chain is wrong, and then comes up.
func Calls() []*step.Event {
	t := &story{Script: NewScript(40)}
	t.nodes()
	t.Write("kubectl", "", step.Create, PagePod, "", 0, m{"apiVersion": "v1", "kind": "Pod", "spec": shopSpec(), "status": m{"phase": "Pending", "qosClass": "Burstable"}})
	t.Write("kube-scheduler", "", step.Create, PagePod, "binding", 0, m{"spec": m{"nodeName": "node-1"}})
	t.Tick(30 * time.Millisecond)
	t.called(step.CNIAdd, &step.CNIError{Code: 11, Msg: "hostPort 8080/tcp is taken", Details: "by pod default/other"})
	t.called(step.CNIDel, nil)
	t.Tick(time.Second)
	t.called(step.CNIAdd, nil)
	return t.Events
}

func raw(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// called is a call of a chain: flannel, which delegates to bridge, which asks
// host-local; then portmap, which may be what is wrong.
func (t *story) called(verb step.Verb, wrong *step.CNIError) {
	result := m{"cniVersion": "1.1.0", "ips": l{m{"address": "10.244.1.2/24", "gateway": "10.244.1.1"}}}
	of := func(parent uint64, name string, stdin m, wrong *step.CNIError, within func(id uint64)) {
		d := step.CNIDetail{Pod: "default/shop", IfName: "eth0", NetNS: "/proc/4711/ns/net", Plugin: name, Stdin: raw(stdin),
			Env: []string{"CNI_COMMAND=" + string(verb), "CNI_CONTAINERID=sb1", "CNI_NETNS=/proc/4711/ns/net", "CNI_IFNAME=eth0", "CNI_PATH=/opt/cni/bin", "CNI_ARGS=K8S_POD_NAMESPACE=default;K8S_POD_NAME=shop"}}
		e := step.Event{Actor: "kubelet", Node: "node-1", Verb: verb, Class: step.ClassCNI, Quiet: true, Parent: parent, Object: step.Object{Resource: "plugins", Namespace: "default", Name: name}}
		if wrong != nil {
			e.Err = wrong.Msg
		}
		t.Do(e, d, func(id uint64) any {
			if within != nil {
				within(id)
			}
			t.Tick(time.Millisecond)
			if d.Error = wrong; wrong == nil && verb == step.CNIAdd {
				d.Result = raw(result)
			}
			return d
		})
	}
	top := step.CNIDetail{Pod: "default/shop", IfName: "eth0", NetNS: "/proc/4711/ns/net",
		Config: raw(m{"cniVersion": "1.1.0", "name": "klab", "plugins": l{m{"type": "flannel"}, m{"type": "portmap"}}})}
	e := step.Event{Actor: "kubelet", Node: "node-1", Verb: verb, Class: step.ClassCNI, Object: PagePod}
	if wrong != nil {
		e.Err = "portmap: " + wrong.Msg
	}
	t.Do(e, top, func(id uint64) any {
		of(id, "flannel", m{"cniVersion": "1.1.0", "name": "klab", "type": "flannel"}, nil, func(id uint64) {
			of(id, "bridge", m{"cniVersion": "1.1.0", "name": "klab", "type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "ipam": m{"type": "host-local"}}, nil, func(id uint64) {
				of(id, "host-local", m{"cniVersion": "1.1.0", "name": "klab", "type": "bridge", "ipam": m{"type": "host-local", "ranges": l{l{m{"subnet": "10.244.1.0/24"}}}}}, nil, nil)
			})
		})
		of(id, "portmap", m{"cniVersion": "1.1.0", "name": "klab", "type": "portmap", "capabilities": m{"portMappings": true}, "prevResult": result}, wrong, nil)
		if wrong == nil && verb == step.CNIAdd {
			top.Address, top.Result = []string{"10.244.1.2/24"}, raw(result)
		}
		return top
	})
}
