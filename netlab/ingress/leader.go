package ingress

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/klab-project/klab/netlab/kube"
)

// Leader is a Lease of the API that one of several controllers holds: that one
// writes. The rules and times are client-go's (tools/leaderelection): whoever has
// seen the Lease unchanged for its whole duration may take it.
type Leader struct {
	API             *kube.Client
	Log             *log.Logger
	Namespace, Name string
	Identity        string        // of this candidate: its pod's name
	Duration        time.Duration // default 15 s
	Retry           time.Duration // default 2 s

	lease    lease
	observed time.Time // when the Lease was seen to change
}

// lease is a coordination.k8s.io/v1 Lease.
type lease struct {
	Metadata struct {
		Name            string `json:"name"`
		Namespace       string `json:"namespace"`
		ResourceVersion string `json:"resourceVersion,omitempty"`
	} `json:"metadata"`
	Spec leaseSpec `json:"spec"`
}

type leaseSpec struct {
	HolderIdentity       string `json:"holderIdentity"`
	LeaseDurationSeconds int    `json:"leaseDurationSeconds"`
	AcquireTime          string `json:"acquireTime,omitempty"`
	RenewTime            string `json:"renewTime,omitempty"`
	LeaseTransitions     int    `json:"leaseTransitions"`
}

// microTime is how Leases say a time.
const microTime = "2006-01-02T15:04:05.000000Z07:00"

// Run tries to be the leader until ctx ends, and tells when that changes; then it
// gives the Lease back.
func (l *Leader) Run(ctx context.Context, changed func(leads bool)) {
	l.Duration, l.Retry = cmp.Or(l.Duration, 15*time.Second), cmp.Or(l.Retry, 2*time.Second)
	deadline := l.Duration * 2 / 3 // client-go's RenewDeadline
	leads := false
	renewed := time.Now()
	for ctx.Err() == nil {
		attempt, cancel := context.WithTimeout(ctx, deadline)
		holds, err := l.try(attempt)
		cancel()
		switch {
		case err != nil && ctx.Err() == nil:
			l.Log.Printf("leader election: %v", err)
			holds = leads && time.Since(renewed) < deadline
		case holds:
			renewed = time.Now()
		}
		if holds != leads && ctx.Err() == nil {
			leads = holds
			l.Log.Printf("leader election: %s leads: %t", l.Identity, leads)
			changed(leads)
		}
		select {
		case <-ctx.Done():
		case <-time.After(l.Retry):
		}
	}
	if leads {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		l.lease.Spec.HolderIdentity, l.lease.Spec.LeaseDurationSeconds = "", 1
		if err := l.write(end); err != nil {
			l.Log.Printf("leader election: the Lease is not given back: %v", err)
		}
	}
}

func (l *Leader) path() string {
	return "/apis/coordination.k8s.io/v1/namespaces/" + l.Namespace + "/leases"
}

// try holds or takes the Lease, if it may.
func (l *Leader) try(ctx context.Context) (holds bool, err error) {
	was := l.lease
	l.lease = lease{}
	err = l.API.Do(ctx, http.MethodGet, l.path()+"/"+l.Name, "", nil, &l.lease)
	if errors.Is(err, kube.ErrNotFound) {
		return l.create(ctx)
	}
	if err != nil {
		l.lease = was
		return false, fmt.Errorf("read the Lease: %w", err)
	}
	if l.lease.Metadata.ResourceVersion != was.Metadata.ResourceVersion {
		l.observed = time.Now()
	}
	spec := &l.lease.Spec
	life := time.Duration(spec.LeaseDurationSeconds) * time.Second
	if spec.HolderIdentity != "" && spec.HolderIdentity != l.Identity && time.Since(l.observed) < life {
		return false, nil
	}
	now := time.Now().UTC().Format(microTime)
	if spec.HolderIdentity != l.Identity {
		spec.HolderIdentity, spec.AcquireTime = l.Identity, now
		spec.LeaseTransitions++
	}
	spec.LeaseDurationSeconds, spec.RenewTime = int(l.Duration/time.Second), now
	return l.wrote(l.write(ctx))
}

func (l *Leader) create(ctx context.Context) (bool, error) {
	now := time.Now().UTC().Format(microTime)
	l.lease = lease{Spec: leaseSpec{HolderIdentity: l.Identity, LeaseDurationSeconds: int(l.Duration / time.Second), AcquireTime: now, RenewTime: now}}
	l.lease.Metadata.Name, l.lease.Metadata.Namespace = l.Name, l.Namespace
	return l.wrote(l.API.Do(ctx, http.MethodPost, l.path(), "application/json", l.lease, &l.lease))
}

func (l *Leader) write(ctx context.Context) error {
	return l.API.Do(ctx, http.MethodPut, l.path()+"/"+l.Name, "application/json", l.lease, &l.lease)
}

// wrote tells whether the Lease is held after it was written: not if another
// candidate was faster.
func (l *Leader) wrote(err error) (bool, error) {
	if errors.Is(err, kube.ErrConflict) {
		return false, nil
	}
	return err == nil, err
}
