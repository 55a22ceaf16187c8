package store

import (
	"context"
	"errors"
)

// EtcdConfig is how to run an etcd inside this process.
type EtcdConfig struct {
	Dir  string // holds data, log and the file `client`; made when it does not exist
	Name string // of the member, for its log; "klab" when empty
}

// OpenEtcd starts an etcd on the data in cfg.Dir and waits until it is ready.
func OpenEtcd(ctx context.Context, cfg EtcdConfig) (Store, error) {
	return nil, errors.New("not built yet")
}

// Dial uses an etcd cluster that exists.
func Dial(ctx context.Context, endpoints ...string) (Store, error) {
	return nil, errors.New("not built yet")
}
