package store

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// etcdStore is a Store in an etcd, behind a client that calls it through
// memory or over the network.
type etcdStore struct {
	client  *clientv3.Client
	failure *failure
	reads   []clientv3.OpOption // of every read

	life    context.Context // ends at Close
	end     context.CancelFunc
	watches sync.WaitGroup
	lanes   lanes
	close   sync.Once
	onClose []func() error
}

func newEtcdStore(client *clientv3.Client, failure *failure, alone bool) *etcdStore {
	s := &etcdStore{client: client, failure: failure}
	if alone {
		s.reads = append(s.reads, clientv3.WithSerializable())
	}
	s.life, s.end = context.WithCancel(context.Background())
	return s
}

// Dial uses an etcd cluster that exists, at endpoints as etcdctl has them.
func Dial(ctx context.Context, endpoints ...string) (Store, error) {
	return DialTLS(ctx, nil, endpoints...)
}

// DialTLS is Dial with client certificates.
func DialTLS(ctx context.Context, config *tls.Config, endpoints ...string) (Store, error) {
	const patience = 5 * time.Second
	client, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, TLS: config, DialTimeout: patience, Logger: zap.NewNop(),
		DialKeepAliveTime: 30 * time.Second, DialKeepAliveTimeout: 10 * time.Second,
	})
	if err != nil {
		return nil, fmt.Errorf("dial etcd at %s: %w", strings.Join(endpoints, ","), err)
	}
	s := newEtcdStore(client, newFailure(), false)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, err := s.Revision(ctx); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("no etcd answers at %s: check the address and that it is running: %w", strings.Join(endpoints, ","), err)
	}
	return s, nil
}

// do calls etcd, and says of an error what it is in terms of the contract.
func (s *etcdStore) do(ctx context.Context, call func(ctx context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.life.Err() != nil {
		return ErrClosed
	}
	if err := s.failure.err(); err != nil {
		return err
	}
	within, cancel := s.failure.context(ctx)
	defer cancel()
	err := call(within)
	if err == nil {
		return nil
	}
	if stopped := s.failure.err(); stopped != nil {
		return stopped
	}
	if s.life.Err() != nil {
		return ErrClosed
	}
	return translate(err)
}

func translate(err error) error {
	for _, t := range []struct{ etcd, ours error }{
		{rpctypes.ErrCompacted, ErrCompacted}, {rpctypes.ErrFutureRev, ErrFuture},
		{rpctypes.ErrRequestTooLarge, ErrTooLarge}, {rpctypes.ErrNoSpace, ErrNoSpace}, {rpctypes.ErrEmptyKey, ErrBadKey},
		{rpctypes.ErrTimeout, ErrTimeout}, {rpctypes.ErrTimeoutDueToLeaderFail, ErrTimeout},
	} {
		if errors.Is(err, t.etcd) {
			return t.ours
		}
	}
	return err
}

func (s *etcdStore) Get(ctx context.Context, key string) (*KV, error) {
	if key == "" {
		return nil, ErrBadKey
	}
	var found *clientv3.GetResponse
	err := s.do(ctx, func(ctx context.Context) (err error) {
		found, err = s.client.Get(ctx, key, s.reads...)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(found.Kvs) == 0 {
		return nil, ErrNotFound
	}
	kv := fromEtcd(found.Kvs[0])
	return &kv, nil
}

func fromEtcd(kv *mvccpb.KeyValue) KV {
	return KV{Key: string(kv.Key), Value: kv.Value, Revision: kv.ModRevision, Created: kv.CreateRevision}
}

func (s *etcdStore) List(ctx context.Context, prefix string, o ListOptions) ([]KV, int64, bool, error) {
	from, opts := span(prefix)
	opts = append(opts, clientv3.WithRev(o.Revision), clientv3.WithLimit(int64(o.Limit)))
	if o.After != "" && o.After >= prefix {
		from = o.After + "\x00"
	}
	var found *clientv3.GetResponse
	err := s.do(ctx, func(ctx context.Context) (err error) {
		found, err = s.client.Get(ctx, from, append(opts, s.reads...)...)
		return err
	})
	if err != nil {
		return nil, 0, false, err
	}
	kvs := make([]KV, len(found.Kvs))
	for i, kv := range found.Kvs {
		kvs[i] = fromEtcd(kv)
	}
	revision := o.Revision
	if revision == 0 {
		revision = found.Header.Revision
	}
	return kvs, revision, found.More, nil
}

// span is the first key of a prefix, and its range as an option.
func span(prefix string) (from string, opts []clientv3.OpOption) {
	if prefix == "" {
		return "\x00", []clientv3.OpOption{clientv3.WithFromKey()}
	}
	return prefix, []clientv3.OpOption{clientv3.WithRange(clientv3.GetPrefixRangeEnd(prefix))}
}

func (s *etcdStore) Put(ctx context.Context, key string, value []byte, expect int64) (int64, error) {
	if err := check(key, value); err != nil {
		return 0, err
	}
	expected := clientv3.Compare(clientv3.ModRevision(key), "=", expect) // of a key that does not exist it is 0
	done, err := s.write(ctx, key, expected, clientv3.OpPut(key, string(value)))
	switch {
	case err != nil:
		return 0, err
	case done.Succeeded:
		return done.Header.Revision, nil
	case expect == 0:
		return 0, ErrExists
	}
	return 0, refused(done)
}

func (s *etcdStore) Delete(ctx context.Context, key string, expect int64) (int64, error) {
	if key == "" {
		return 0, ErrBadKey
	}
	expected := clientv3.Compare(clientv3.ModRevision(key), "=", expect)
	if expect == 0 {
		expected = clientv3.Compare(clientv3.ModRevision(key), ">", 0)
	}
	done, err := s.write(ctx, key, expected, clientv3.OpDelete(key))
	switch {
	case err != nil:
		return 0, err
	case done.Succeeded:
		return done.Header.Revision, nil
	}
	return 0, refused(done)
}

// write does one change if what is expected of key holds, and else tells
// whether it exists.
func (s *etcdStore) write(ctx context.Context, key string, expected clientv3.Cmp, change clientv3.Op) (done *clientv3.TxnResponse, err error) {
	err = s.do(ctx, func(ctx context.Context) (err error) {
		done, err = s.client.Txn(ctx).If(expected).Then(change).
			Else(clientv3.OpGet(key, clientv3.WithKeysOnly())).Commit()
		return err
	})
	return done, err
}

func refused(done *clientv3.TxnResponse) error {
	if len(done.Responses[0].GetResponseRange().Kvs) == 0 {
		return ErrNotFound
	}
	return ErrConflict
}

func (s *etcdStore) Revision(ctx context.Context) (int64, error) {
	var found *clientv3.GetResponse
	err := s.do(ctx, func(ctx context.Context) (err error) {
		found, err = s.client.Get(ctx, "\x00", append(s.reads, clientv3.WithCountOnly())...)
		return err
	})
	if err != nil {
		return 0, err
	}
	return found.Header.Revision, nil
}

func (s *etcdStore) Compact(ctx context.Context, revision int64) error {
	return s.do(ctx, func(ctx context.Context) error {
		_, err := s.client.Compact(ctx, revision)
		return err
	})
}

// Close ends all watches, waits for their goroutines, and then ends the client
// and the etcd behind it.
func (s *etcdStore) Close() error {
	var err error
	s.close.Do(func() {
		s.end()
		s.watches.Wait()
		err = s.client.Close()
		if errors.Is(err, context.Canceled) {
			err = nil
		}
		for _, f := range s.onClose {
			err = errors.Join(err, f())
		}
	})
	return err
}
