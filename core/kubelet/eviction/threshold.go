package eviction

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Signal is something that a node can run out of.
type Signal string

// The signals, in upstream's words.
const (
	MemoryAvailable      Signal = "memory.available"
	AllocatableMemory    Signal = "allocatableMemory.available" // of the control group of all pods
	NodeFSAvailable      Signal = "nodefs.available"
	NodeFSInodes         Signal = "nodefs.inodesFree"
	ImageFSAvailable     Signal = "imagefs.available"
	ImageFSInodes        Signal = "imagefs.inodesFree"
	ContainerFSAvailable Signal = "containerfs.available"
	ContainerFSInodes    Signal = "containerfs.inodesFree"
	PIDAvailable         Signal = "pid.available"
)

// Resources that have no name in the API.
const (
	Inodes corev1.ResourceName = "inodes"
	PIDs   corev1.ResourceName = "pids"
)

// about says what a signal is about: the node's condition and the resource.
var about = map[Signal]struct {
	condition corev1.NodeConditionType
	resource  corev1.ResourceName
}{
	MemoryAvailable:      {corev1.NodeMemoryPressure, corev1.ResourceMemory},
	AllocatableMemory:    {corev1.NodeMemoryPressure, corev1.ResourceMemory},
	NodeFSAvailable:      {corev1.NodeDiskPressure, corev1.ResourceEphemeralStorage},
	NodeFSInodes:         {corev1.NodeDiskPressure, Inodes},
	ImageFSAvailable:     {corev1.NodeDiskPressure, corev1.ResourceEphemeralStorage},
	ImageFSInodes:        {corev1.NodeDiskPressure, Inodes},
	ContainerFSAvailable: {corev1.NodeDiskPressure, corev1.ResourceEphemeralStorage},
	ContainerFSInodes:    {corev1.NodeDiskPressure, Inodes},
	PIDAvailable:         {corev1.NodePIDPressure, PIDs},
}

// Resource is what runs out.
func (s Signal) Resource() corev1.ResourceName { return about[s].resource }

// Condition is what the node has when it does.
func (s Signal) Condition() corev1.NodeConditionType { return about[s].condition }

// Value is an amount, or a part of what there is.
type Value struct {
	Amount  resource.Quantity
	Percent float64 // if not 0
}

// Of is the amount, of a capacity.
func (v Value) Of(capacity resource.Quantity) resource.Quantity {
	if v.Percent == 0 {
		return v.Amount
	}
	return *resource.NewQuantity(int64(float64(capacity.Value())*v.Percent/100), resource.BinarySI)
}

func (v Value) String() string {
	if v.Percent != 0 {
		return strconv.FormatFloat(v.Percent, 'f', -1, 64) + "%"
	}
	return v.Amount.String()
}

// Threshold says from where on there is too little of something. Without Grace
// it is a hard one.
type Threshold struct {
	Signal     Signal
	Below      Value
	Grace      time.Duration // for how long there must be too little
	MinReclaim Value         // how much more than Below there is to be afterwards
}

// Hard tells whether pods go at once and with no grace of their own.
func (t *Threshold) Hard() bool { return t.Grace == 0 }

func (t *Threshold) key() string { return fmt.Sprint(t.Signal, t.Below, t.Grace) }

// Config is what a kubelet is told about evictions, in the form of its flags.
type Config struct {
	Hard, Soft, SoftGrace, MinReclaim map[string]string

	Transition  time.Duration // for how long a condition stays after its cause
	MaxPodGrace time.Duration // that soft evictions give a pod at most
}

// DefaultHard is what upstream's kubelets defend if they are told nothing.
func DefaultHard() map[string]string {
	return map[string]string{"memory.available": "100Mi", "nodefs.available": "10%", "nodefs.inodesFree": "5%", "imagefs.available": "15%", "imagefs.inodesFree": "5%"}
}

// DefaultTransition is upstream's.
const DefaultTransition = 5 * time.Minute

// Thresholds reads the configuration, in the order of the signals' names, hard
// ones first. The memory of all pods together is defended like the node's.
func (c *Config) Thresholds() ([]Threshold, error) {
	var list []Threshold
	for _, soft := range []bool{false, true} {
		from := c.Hard
		if soft {
			from = c.Soft
		}
		for _, name := range slices.Sorted(maps.Keys(from)) {
			t := Threshold{Signal: Signal(name)}
			if _, known := about[t.Signal]; !known {
				return nil, fmt.Errorf("unsupported eviction signal %s", name)
			}
			below, off, err := parse(name, from[name])
			if err != nil {
				return nil, err
			}
			if off {
				continue
			}
			t.Below = below
			if soft {
				if t.Grace, err = time.ParseDuration(c.SoftGrace[name]); err != nil || t.Grace <= 0 {
					return nil, fmt.Errorf("grace period must be specified for the soft eviction threshold %s", name)
				}
			}
			if text := c.MinReclaim[name]; text != "" {
				if t.MinReclaim, _, err = parse(name, text); err != nil {
					return nil, err
				}
			}
			list = append(list, t)
			if t.Signal == MemoryAvailable && t.Hard() {
				t.Signal = AllocatableMemory
				list = append(list, t)
			}
		}
	}
	return list, nil
}

// parse reads "100Mi" or "10%"; 0% and 100% turn a threshold off.
func parse(name, text string) (v Value, off bool, err error) {
	if number, percent := strings.CutSuffix(text, "%"); percent {
		v.Percent, err = strconv.ParseFloat(number, 64)
		if err != nil || v.Percent < 0 || v.Percent > 100 {
			return v, false, fmt.Errorf("eviction percentage threshold %s must be between 0%% and 100%%: %s", name, text)
		}
		return v, v.Percent == 0 || v.Percent == 100, nil
	}
	v.Amount, err = resource.ParseQuantity(text)
	if err == nil && v.Amount.Sign() <= 0 {
		err = fmt.Errorf("eviction threshold %s must be positive: %s", name, text)
	}
	if err != nil {
		return v, false, fmt.Errorf("eviction threshold %s: %w", name, err)
	}
	return v, false, nil
}

// Reserved is how much of the capacity hard thresholds keep from pods.
func Reserved(thresholds []Threshold, capacity corev1.ResourceList) corev1.ResourceList {
	list := corev1.ResourceList{}
	for _, t := range thresholds {
		if t.Hard() && t.Signal == MemoryAvailable {
			list[corev1.ResourceMemory] = t.Below.Of(capacity[corev1.ResourceMemory])
		}
		if t.Hard() && t.Signal == NodeFSAvailable {
			list[corev1.ResourceEphemeralStorage] = t.Below.Of(capacity[corev1.ResourceEphemeralStorage])
		}
	}
	return list
}
