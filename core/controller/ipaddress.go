package controller

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/klab-project/klab/core/step"
)

// ipRepair sees to it that each cluster IP has its IPAddress and each IPAddress
// its Service, whatever somebody deleted or a server that died left. Its keys
// are addresses.
// Behaviour: pkg/registry/core/service/ipallocator/controller (repairip).
type ipRepair struct {
	*Loop
	services cache.Indexer
	ips      cache.Store
}

// orphanGrace is how long an IPAddress may be without its Service: the one is
// made before the other.
const orphanGrace = time.Minute

const byClusterIP = "clusterIP"

func newIPRepair(l *Loop) (Reconcile, error) {
	services, ips := l.Informers.Core().V1().Services().Informer(), l.Informers.Networking().V1().IPAddresses().Informer()
	c := &ipRepair{Loop: l, services: services.GetIndexer(), ips: ips.GetStore()}
	l.NameKeys(func(key string) step.Object {
		return step.Object{Resource: "ipaddresses.networking.k8s.io", Name: key}
	})
	indexed := services.AddIndexers(cache.Indexers{byClusterIP: func(obj any) ([]string, error) {
		return clusterIPs(obj.(*corev1.Service)), nil
	}})
	return c.reconcile, errors.Join(indexed,
		Watch(l, services, func(_, cur *corev1.Service) {
			if cur == nil {
				return // who deletes it deletes its addresses
			}
			for _, ip := range clusterIPs(cur) {
				if _, ok, _ := c.ips.GetByKey(ip); !ok {
					l.Add(ip, revisionOf(cur))
				}
			}
		}),
		Watch(l, ips, func(old, cur *networkingv1.IPAddress) {
			if ip := newest(old, cur); (old == nil || cur == nil) && ip.Labels[networkingv1.LabelManagedBy] == ipAllocator {
				if owner, _ := c.owner(ip.Name); (owner == nil) == (cur != nil) {
					l.Add(ip.Name, revisionOf(ip))
				}
			}
		}))
}

// clusterIPs are the addresses of a Service; none if it is headless.
func clusterIPs(s *corev1.Service) (list []string) {
	for _, ip := range s.Spec.ClusterIPs {
		if _, err := netip.ParseAddr(ip); err == nil {
			list = append(list, ip)
		}
	}
	return list
}

// owner is the Service that has an address, as far as is known.
func (c *ipRepair) owner(ip string) (*corev1.Service, error) {
	found, err := c.services.ByIndex(byClusterIP, ip)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return found[0].(*corev1.Service), nil
}

func (c *ipRepair) reconcile(ctx context.Context, ip string) error {
	owner, err := c.owner(ip)
	if err != nil {
		return err
	}
	obj, there, _ := c.ips.GetByKey(ip)
	switch {
	case owner != nil && !there:
		c.NoDeadline(ip)
		return c.give(ctx, owner, ip)
	case owner == nil && there:
		return c.take(ctx, obj.(*networkingv1.IPAddress))
	}
	c.NoDeadline(ip)
	return nil
}

// give makes the IPAddress of a Service that still is there.
func (c *ipRepair) give(ctx context.Context, owner *corev1.Service, ip string) error {
	now, err := c.Client.CoreV1().Services(owner.Namespace).Get(ctx, owner.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && !slices.Contains(now.Spec.ClusterIPs, ip) {
		return nil
	}
	if err != nil {
		return err
	}
	family := corev1.IPv4Protocol
	if netip.MustParseAddr(ip).Is6() {
		family = corev1.IPv6Protocol
	}
	_, err = c.Client.NetworkingV1().IPAddresses().Create(ctx, &networkingv1.IPAddress{
		ObjectMeta: metav1.ObjectMeta{Name: ip, Labels: map[string]string{
			networkingv1.LabelIPAddressFamily: string(family), networkingv1.LabelManagedBy: ipAllocator,
		}},
		Spec: networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Resource: "services", Namespace: owner.Namespace, Name: owner.Name}},
	}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err == nil {
		c.Events.Eventf(ctx, now, corev1.EventTypeWarning, "ClusterIPNotAllocated", "Cluster IP [%s]: %s is not allocated; repairing", family, ip)
	}
	return err
}

// take removes an IPAddress that no Service has, when it has had time enough.
func (c *ipRepair) take(ctx context.Context, ip *networkingv1.IPAddress) error {
	if _, ours := managed(ip); !ours {
		return nil
	}
	if wait := orphanGrace - c.Clock.Now().Sub(ip.CreationTimestamp.Time); wait > 0 {
		c.Deadline(ip.Name, wait)
		return nil
	}
	if p := ip.Spec.ParentRef; p != nil {
		c.Events.Eventf(ctx, ip, corev1.EventTypeWarning, "IPAddressNotAllocated", "IPAddress: %s for Service %s/%s appears to have leaked: cleaning up", ip.Name, p.Namespace, p.Name)
	}
	step.Note(ctx, step.ReconcileDetail{Plan: []string{fmt.Sprintf("free %s: no Service has it", ip.Name)}})
	err := c.Client.NetworkingV1().IPAddresses().Delete(ctx, ip.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(ip.UID))})
	return ignoreGone(err)
}
