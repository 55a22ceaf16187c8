package kubelet

import (
	"context"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A node's Lease lasts 40 s and is renewed every 10 s of lab time.
const (
	leaseSeconds = 40
	leaseEvery   = leaseSeconds * time.Second / 4
)

// leases keeps the node's Lease fresh until ctx ends. After a gap, the node's
// status is written at once: nobody else says that the node is back.
func (n *node) leases(ctx context.Context) {
	var lease *coordinationv1.Lease
	renewed := n.k.Clock.Since()
	for {
		var err error
		if lease, err = n.renew(ctx, lease); err == nil {
			gap := n.k.Clock.Since() - renewed
			renewed += gap
			if gap > 2*leaseEvery {
				err = n.lookAgain(ctx)
			}
		}
		if err != nil && ctx.Err() == nil {
			n.k.log.Warn("renew the node's lease and status", "err", err)
		}
		if !n.k.sleep(ctx, leaseEvery) {
			return
		}
	}
}

// renew writes the Lease; on trouble it returns nil, so that the next try
// begins by looking what the API has.
func (n *node) renew(ctx context.Context, last *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	client := n.k.Client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	now := metav1.NewMicroTime(n.k.Clock.Now())
	if last == nil {
		made, err := client.Create(ctx, n.lease(now), metav1.CreateOptions{})
		if !apierrors.IsAlreadyExists(err) {
			return made, err
		}
		if last, err = client.Get(ctx, n.k.NodeName, metav1.GetOptions{}); err != nil {
			return nil, err
		}
	}
	next := n.lease(now)
	next.ResourceVersion, next.UID = last.ResourceVersion, last.UID
	made, err := client.Update(ctx, next, metav1.UpdateOptions{})
	if err != nil {
		return nil, err
	}
	return made, nil
}

func (n *node) lease(now metav1.MicroTime) *coordinationv1.Lease {
	n.mu.Lock()
	owner := n.object
	n.mu.Unlock()
	seconds := int32(leaseSeconds)
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: n.k.NodeName, Namespace: corev1.NamespaceNodeLease, OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "v1", Kind: "Node", Name: owner.Name, UID: owner.UID},
		}},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &n.k.NodeName, LeaseDurationSeconds: &seconds, RenewTime: &now},
	}
}
