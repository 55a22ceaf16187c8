package criclient

import (
	"context"
	"maps"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// relistEvery is how often a runtime without events is asked what it has.
const relistEvery = time.Second

// Events implements Runtime.
func (c *Client) Events(ctx context.Context) (<-chan *cri.ContainerEventResponse, error) {
	stream, err := c.rt.GetContainerEvents(ctx, &cri.GetEventsRequest{})
	if err != nil {
		return nil, plain(err)
	}
	out := make(chan *cri.ContainerEventResponse)
	go func() {
		defer close(out)
		for {
			e, err := stream.Recv()
			switch {
			case status.Code(err) == codes.Unimplemented:
				c.relist(ctx, out)
				return
			case err != nil:
				return
			}
			select {
			case out <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

// seen is one sandbox or container as a list had it.
type seen struct {
	sandbox string // its own id if it is one
	stage   cri.ContainerEventType
}

// relist makes events of the differences between one list and the next.
func (c *Client) relist(ctx context.Context, out chan<- *cri.ContainerEventResponse) {
	last := map[string]seen{}
	for ctx.Err() == nil {
		if now, err := c.look(ctx); err == nil {
			for _, e := range changes(last, now) {
				e.CreatedAt = time.Now().UnixNano()
				if s, ok := now[e.ContainerId]; ok {
					e.PodSandboxStatus, _ = c.PodSandboxStatus(ctx, s.sandbox) // without one it is gone already
				}
				select {
				case out <- e:
				case <-ctx.Done():
					return
				}
			}
			last = now
		}
		select {
		case <-ctx.Done():
		case <-time.After(relistEvery):
		}
	}
}

func (c *Client) look(ctx context.Context) (map[string]seen, error) {
	now := map[string]seen{}
	pods, err := c.ListPodSandbox(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range pods {
		stage := cri.ContainerEventType_CONTAINER_STARTED_EVENT
		if p.State != cri.PodSandboxState_SANDBOX_READY {
			stage = cri.ContainerEventType_CONTAINER_STOPPED_EVENT
		}
		now[p.Id] = seen{p.Id, stage}
	}
	containers, err := c.ListContainers(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range containers {
		stage := cri.ContainerEventType_CONTAINER_CREATED_EVENT
		switch t.State {
		case cri.ContainerState_CONTAINER_RUNNING:
			stage = cri.ContainerEventType_CONTAINER_STARTED_EVENT
		case cri.ContainerState_CONTAINER_EXITED:
			stage = cri.ContainerEventType_CONTAINER_STOPPED_EVENT
		}
		now[t.Id] = seen{t.PodSandboxId, stage}
	}
	return now, nil
}

// changes are the events that lead from one list to the next.
func changes(last, now map[string]seen) []*cri.ContainerEventResponse {
	var events []*cri.ContainerEventResponse
	for id := range maps.Keys(now) {
		if old, known := last[id]; !known || old.stage != now[id].stage {
			events = append(events, &cri.ContainerEventResponse{ContainerId: id, ContainerEventType: now[id].stage})
		}
	}
	for id := range maps.Keys(last) {
		if _, still := now[id]; !still {
			events = append(events, &cri.ContainerEventResponse{ContainerId: id, ContainerEventType: cri.ContainerEventType_CONTAINER_DELETED_EVENT})
		}
	}
	return events
}
