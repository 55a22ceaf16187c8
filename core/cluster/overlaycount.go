package cluster

import (
	"context"
	"reflect"
	"time"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/overlay"
)

// countEvery is how often what the forwarder has carried is recorded, if it
// has carried something.
const countEvery = time.Second

// count records what the node's forwarder has carried. Packets do not stand
// still with the lab: this is real time.
func (f *flannel) count(ctx context.Context) {
	tick := time.NewTicker(countEvery)
	defer tick.Stop()
	var last *overlay.Counts
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		counts := f.m.Counts()
		if counts != nil && !reflect.DeepEqual(counts, last) {
			step.Fact(ctx, step.Action{
				Actor: overlayActor, Node: f.a.name, Verb: step.Carried,
				Object: step.Object{Resource: "nodes", Name: f.a.name}, Detail: carried(counts),
			})
		}
		last = counts
	}
}

func carried(c *overlay.Counts) step.CarriedDetail {
	d := step.CarriedDetail{Backend: overlay.UDP, NoRoute: c.NoRoute, TTL: c.TTL, Bad: c.Bad, Unsent: c.Unsent}
	for _, p := range c.Peers {
		d.Peers = append(d.Peers, step.CarriedPeer{
			Peer: p.Node, Subnet: p.Subnet.String(),
			OutPackets: p.OutPackets, OutBytes: p.OutBytes, InPackets: p.InPackets, InBytes: p.InBytes,
		})
	}
	return d
}
