package runtime

import (
	"context"
	"fmt"
	"strings"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klab-project/klab/core/runtime/image"
	"github.com/klab-project/klab/core/runtime/shim"
	"github.com/klab-project/klab/core/step"
)

// ran records the command line that does what was done.
func ran(ctx context.Context, object step.Object, via, line string, exit int) {
	if step.From(ctx) == nil {
		return
	}
	step.Fact(ctx, step.Action{
		Actor: "kubelet", Verb: step.Ran, Object: object, Detail: step.RanDetail{Line: line, Via: via, Exit: exit},
	})
}

func (m *meta) object() step.Object {
	if m.container != nil {
		return step.Object{Resource: "containers", Name: m.container.GetMetadata().GetName(), UID: m.ID}
	}
	return podObject(m.sandbox)
}

func podObject(config *cri.PodSandboxConfig) step.Object {
	md := config.GetMetadata()
	return step.Object{Resource: "pods", Namespace: md.GetNamespace(), Name: md.GetName(), UID: md.GetUid()}
}

func ranOCI(ctx context.Context, m *meta, line string) {
	ran(ctx, m.object(), "libcontainer", line, 0)
}

// ranCreate tells of the mounts and of what the machine did not allow.
func ranCreate(ctx context.Context, bundle, id string, req *shim.Create, state *shim.State) {
	if step.From(ctx) == nil || state == nil {
		return
	}
	object := step.Object{Resource: "containers", UID: id}
	for _, m := range req.Mounts {
		line := fmt.Sprintf("mount -t %s -o %s %s %s", m.Type, m.Data, m.Source, m.Target)
		ran(ctx, object, "mount", line, 0)
	}
	exit := 0
	if state.Status == shim.Failed {
		exit = 1
	}
	ran(ctx, object, "libcontainer", fmt.Sprintf("runc create --bundle %s %s", bundle, short(id)), exit)
	for _, note := range state.Notes {
		ran(ctx, object, "libcontainer", "# "+note, 0)
	}
}

func ranExec(ctx context.Context, m *meta, command []string, exit int) {
	line := fmt.Sprintf("runc exec %s %s", short(m.ID), strings.Join(command, " "))
	ran(ctx, m.object(), "libcontainer", line, exit)
}

func ranPull(ctx context.Context, ref string, pulled image.Pulled) {
	if step.From(ctx) == nil {
		return
	}
	ran(ctx, step.Object{Resource: "images", Name: ref}, "http", "docker pull "+ref, 0)
	step.Note(ctx, step.RuntimeDetail{Image: ref, ID: pulled.ID, Bytes: pulled.Bytes})
}

// short is an id as people write it.
func short(id string) string { return id[:min(len(id), 12)] }
