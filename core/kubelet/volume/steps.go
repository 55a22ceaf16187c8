package volume

import (
	"context"
	"maps"
	"slices"

	"github.com/klab-project/klab/core/step"
)

// Steps makes everything that hands do a step of the kubelet on node.
func Steps(hands Hands, node string) Hands { return steps{hands, node} }

type steps struct {
	hands Hands
	node  string
}

func (s steps) Mount(ctx context.Context, m *Mount) error {
	d := step.VolumeDetail{Volume: m.Volume, Plugin: m.Plugin, Path: m.Path, Update: m.Update, Files: slices.Sorted(maps.Keys(m.Files))}
	switch {
	case m.Bind != nil:
		d.Type, d.Container, d.SubPath = "bind", m.Bind.Container, m.Bind.Sub
	case m.Dir != nil && m.Dir.Memory:
		d.Type, d.Size = "tmpfs", m.Dir.Size
	}
	return s.do(ctx, step.Mount, m.Pod, d, func(ctx context.Context) error { return s.hands.Mount(ctx, m) })
}

func (s steps) Unmount(ctx context.Context, m *Mounted) error {
	d := step.VolumeDetail{Volume: m.Volume, Plugin: m.Plugin, Path: m.Path}
	return s.do(ctx, step.Unmount, m.Pod, d, func(ctx context.Context) error { return s.hands.Unmount(ctx, m) })
}

func (s steps) do(ctx context.Context, verb step.Verb, pod step.Object, d step.VolumeDetail, f func(context.Context) error) error {
	return step.Do(ctx, step.Action{Actor: "kubelet", Node: s.node, Verb: verb, Object: pod, Detail: d}, f)
}
