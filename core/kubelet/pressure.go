package kubelet

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/klab-project/klab/core/kubelet/eviction"
	"github.com/klab-project/klab/core/step"
)

// fault is what the kubelet is made to see instead of what there is.
type fault struct {
	available *resource.Quantity // nil: half of what is too little
}

// Pressure is a fault of the lab: the node seems to run out of something.
type Pressure struct {
	Of        string             `json:"of"`                  // memory, disk or pid
	Available *resource.Quantity `json:"available,omitempty"` // default: half of what is too little
	Off       bool               `json:"off,omitempty"`
}

// pressed are the signals that each kind of pressure is about.
var pressed = map[string][]eviction.Signal{
	"memory": {eviction.MemoryAvailable},
	"disk":   {eviction.NodeFSAvailable, eviction.ImageFSAvailable},
	"pid":    {eviction.PIDAvailable},
}

// press sets or ends a fault; the kubelet looks at once.
func (e *evictor) press(p Pressure) error {
	signals := pressed[p.Of]
	if signals == nil {
		return fmt.Errorf("a node can be short of memory, disk or pid, not of %q", p.Of)
	}
	if !slices.ContainsFunc(e.thresholds, func(t eviction.Threshold) bool { return t.Signal == signals[0] }) {
		return fmt.Errorf("%s has no threshold for %s, so nothing would follow: see \"eviction-hard\" of the kubelet", e.k.NodeName, signals[0])
	}
	e.mu.Lock()
	for _, s := range signals {
		if delete(e.faults, s); !p.Off {
			e.faults[s] = fault{p.Available}
		}
	}
	e.mu.Unlock()
	select {
	case e.now <- struct{}{}:
	default:
	}
	return nil
}

// observe reads what the node has left, and puts what faults say over it.
func (e *evictor) observe(ctx context.Context) (eviction.Observations, error) {
	node, err := e.k.stats.Node(ctx)
	if err != nil {
		return nil, err
	}
	seen := eviction.Observations{}
	bytes := func(s eviction.Signal, f *statsapi.FsStats, inodes eviction.Signal) {
		if f != nil {
			seen[s] = eviction.Observation{Available: binary(f.AvailableBytes), Capacity: binary(f.CapacityBytes)}
			seen[inodes] = eviction.Observation{Available: decimal(f.InodesFree), Capacity: decimal(f.Inodes)}
		}
	}
	seen[eviction.MemoryAvailable] = eviction.Observation{Available: binary(node.Memory.AvailableBytes), Capacity: *e.k.node.capacity.Memory()}
	for _, c := range node.SystemContainers {
		if c.Name == statsapi.SystemContainerPods && e.k.groups != nil {
			limit := e.k.node.unreserved()[corev1.ResourceMemory]
			left := limit.DeepCopy()
			left.Sub(binary(c.Memory.WorkingSetBytes))
			seen[eviction.AllocatableMemory] = eviction.Observation{Available: left, Capacity: limit}
		}
	}
	bytes(eviction.NodeFSAvailable, node.Fs, eviction.NodeFSInodes)
	bytes(eviction.ImageFSAvailable, node.Runtime.ImageFs, eviction.ImageFSInodes)
	bytes(eviction.ContainerFSAvailable, node.Runtime.ContainerFs, eviction.ContainerFSInodes)
	if r := node.Rlimit; r != nil {
		seen[eviction.PIDAvailable] = eviction.Observation{
			Available: *resource.NewQuantity(*r.MaxPID-*r.NumOfRunningProcesses, resource.DecimalSI), Capacity: *resource.NewQuantity(*r.MaxPID, resource.DecimalSI)}
	}
	e.simulate(seen)
	return seen, nil
}

func (e *evictor) simulate(seen eviction.Observations) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for signal, f := range e.faults {
		o := seen[signal]
		o.Simulated = true
		switch {
		case f.available != nil:
			o.Available = *f.available
		default:
			i := slices.IndexFunc(e.thresholds, func(t eviction.Threshold) bool { return t.Signal == signal })
			if i < 0 {
				continue
			}
			below := e.thresholds[i].Below.Of(o.Capacity)
			o.Available = *resource.NewQuantity(below.Value()/2, below.Format)
		}
		seen[signal] = o
	}
}

func binary(n *uint64) resource.Quantity  { return quantity(n, resource.BinarySI) }
func decimal(n *uint64) resource.Quantity { return quantity(n, resource.DecimalSI) }

func quantity(n *uint64, f resource.Format) resource.Quantity {
	if n == nil {
		return *resource.NewQuantity(0, f)
	}
	return *resource.NewQuantity(int64(*n), f)
}

// tell makes the conditions known: to admission, in the node's status, and as
// a fact whenever the thresholds that are crossed are others than before.
func (e *evictor) tell(ctx context.Context, o *eviction.Outcome, seen eviction.Observations) {
	d := step.PressureDetail{}
	for _, c := range o.Conditions {
		d.Conditions = append(d.Conditions, string(c))
	}
	for _, t := range o.Crossed {
		s := seen[t.Signal]
		below := t.Below.Of(s.Capacity)
		d.Signals = append(d.Signals, step.SignalSeen{Signal: string(t.Signal), Available: s.Available.String(), Threshold: below.String(),
			Grace: step.Seconds(t.Grace), Simulated: s.Simulated})
	}
	e.mu.Lock()
	changed := !slices.Equal(e.conditions, o.Conditions)
	e.conditions = o.Conditions
	for _, s := range slices.Sorted(maps.Keys(e.faults)) {
		d.Faults = append(d.Faults, string(s))
	}
	key := fmt.Sprint(d.Conditions, d.Faults)
	for _, s := range d.Signals {
		key += s.Signal
	}
	news := key != e.told && (e.told != "" || len(d.Conditions)+len(d.Faults) > 0)
	e.told = key
	e.mu.Unlock()
	if news {
		a := e.k.action(step.Pressure, nil)
		a.Object = step.Object{Resource: "nodes", Name: e.k.NodeName}
		a.Detail = d
		step.Fact(ctx, a)
	}
	if changed {
		if err := e.k.node.writeStatus(ctx); err != nil && ctx.Err() == nil {
			e.k.log.Warn("write the node's conditions", "err", err)
		}
	}
}

// refuses is why a node under pressure does not take the pod; ok if it does.
func (e *evictor) refuses(pod *corev1.Pod) (reason statusReason, ok bool) {
	e.mu.Lock()
	conditions := slices.Clone(e.conditions)
	e.mu.Unlock()
	if len(conditions) == 0 || eviction.Critical(pod) {
		return reason, true
	}
	if slices.Equal(conditions, []corev1.NodeConditionType{corev1.NodeMemoryPressure}) &&
		(qosClass(pod) != corev1.PodQOSBestEffort || toleratesMemoryPressure(pod)) {
		return reason, true
	}
	return statusReason{eviction.Reason, fmt.Sprintf("Pod was rejected: The node had condition: %v. ", conditions)}, false
}

func toleratesMemoryPressure(pod *corev1.Pod) bool {
	taint := &corev1.Taint{Key: corev1.TaintNodeMemoryPressure, Effect: corev1.TaintEffectNoSchedule}
	return slices.ContainsFunc(pod.Spec.Tolerations, func(t corev1.Toleration) bool {
		return (t.Key == "" && t.Operator == corev1.TolerationOpExists || t.Key == taint.Key) && (t.Effect == "" || t.Effect == taint.Effect) &&
			(t.Operator == corev1.TolerationOpExists || t.Value == taint.Value)
	})
}

// servePressure lets the lab set a fault.
func (k *Kubelet) servePressure(w http.ResponseWriter, r *http.Request) {
	var p Pressure
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&p)
	if err == nil {
		err = k.evictor.press(p)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}
