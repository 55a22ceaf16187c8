package runtime

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klab-project/klab/core/runtime/oci"
	"github.com/klab-project/klab/core/runtime/shim"
)

// UpdateContainerResources implements Runtime. What was set is kept, so that
// ContainerStatus tells what the kernel really has.
func (c *Client) UpdateContainerResources(ctx context.Context, id string, r *cri.LinuxContainerResources) error {
	m, err := c.containerMeta(id)
	if err != nil {
		return err
	}
	limits, err := oci.Resources(r, c.v2)
	if err != nil {
		return fmt.Errorf("update container: %w", err)
	}
	if _, err := c.rt.Do(ctx, shim.Request{Verb: shim.VerbUpdate, ID: id, Resources: limits}); err != nil {
		return fmt.Errorf("update container: %w", translate(id, err))
	}
	ranOCI(ctx, m, "runc update --resources - "+short(id))
	changed := *m
	changed.container = proto.CloneOf(m.container)
	if changed.container.Linux == nil {
		changed.container.Linux = &cri.LinuxContainerConfig{}
	}
	changed.container.Linux.Resources = merged(changed.container.Linux.Resources, r)
	if changed.Config, err = protojson.Marshal(changed.container); err != nil {
		return err
	}
	return c.put(&changed)
}

// merged is r over what was so far.
func merged(old, r *cri.LinuxContainerResources) *cri.LinuxContainerResources {
	if old == nil {
		old = &cri.LinuxContainerResources{}
	}
	if len(r.GetHugepageLimits()) > 0 {
		old.HugepageLimits = nil // the new list is whole
	}
	proto.Merge(old, r) // zero and empty fields change nothing
	return old
}

// UpdatePodSandboxResources implements Runtime.
func (c *Client) UpdatePodSandboxResources(_ context.Context, id string, overhead, resources *cri.LinuxContainerResources) error {
	m, err := c.sandboxMeta(id)
	if err != nil {
		return err
	}
	changed := *m
	changed.sandbox = proto.CloneOf(m.sandbox)
	if changed.sandbox.Linux == nil {
		return errors.New("update pod: the sandbox was made without linux configuration")
	}
	changed.sandbox.Linux.Overhead = merged(changed.sandbox.Linux.Overhead, overhead)
	changed.sandbox.Linux.Resources = merged(changed.sandbox.Linux.Resources, resources)
	if changed.Config, err = protojson.Marshal(changed.sandbox); err != nil {
		return err
	}
	return c.put(&changed)
}
