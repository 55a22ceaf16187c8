// Package criserver serves a [runtime.Runtime] by the Kubernetes container
// runtime interface itself: the gRPC services RuntimeService and ImageService
// of k8s.io/cri-api, v1, on a unix socket. With it crictl looks at a node,
// critest judges its runtime, and another kubelet could use it.
//
// Start at [Serve]; the nouns are [Config] and the server, whose methods are
// the verbs of the interface, a file for each of its parts. What a verb means
// is the runtime's; here are only filters, short ids, the words for errors,
// and the URLs of streams.
package criserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"time"

	"google.golang.org/grpc"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klab-project/klab/core/runtime"
	"github.com/klab-project/klab/core/step"
)

// Config says what is served and where.
type Config struct {
	Runtime runtime.Runtime
	Socket  string // path of the unix socket; whatever is there goes
	// Streams are where the URLs of exec, attach and port-forward lead: all of
	// them at the same port of loopback, each in a network namespace from which
	// clients may come. Empty, there are no such URLs.
	Streams []net.Listener
}

// maxMessage is upstream's bound of a message.
const maxMessage = 16 << 20

// server is the two services.
type server struct {
	cri.UnimplementedRuntimeServiceServer
	cri.UnimplementedImageServiceServer
	rt      runtime.Runtime
	streams urls
}

// Serve serves until ctx ends. Verbs have ctx's lab.
func Serve(ctx context.Context, c Config) error {
	s := &server{rt: c.Runtime}
	if err := s.serveStreams(ctx, c); err != nil {
		return fmt.Errorf("streams of the CRI: %w", err)
	}
	if err := os.Remove(c.Socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("socket of the CRI: %w", err)
	}
	listener, err := net.Listen("unix", c.Socket)
	if err != nil {
		return fmt.Errorf("socket of the CRI: %w", err)
	}
	if err := os.Chmod(c.Socket, 0o660); err != nil {
		return errors.Join(err, listener.Close())
	}
	g := grpc.NewServer(
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage),
		grpc.UnaryInterceptor(func(call context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			answer, err := handler(step.With(call, step.From(ctx)), req)
			return answer, coded(err)
		}),
		grpc.StreamInterceptor(func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			return coded(handler(srv, stream))
		}),
	)
	cri.RegisterRuntimeServiceServer(g, s)
	cri.RegisterImageServiceServer(g, s)
	stop := context.AfterFunc(ctx, g.Stop)
	defer stop()
	if err := g.Serve(listener); err != nil && ctx.Err() == nil {
		return fmt.Errorf("serve the CRI: %w", err)
	}
	return nil
}

// serveHTTP serves the streams on one listener until ctx ends.
func serveHTTP(ctx context.Context, h http.Handler, l net.Listener) {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: 30 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	context.AfterFunc(ctx, func() { srv.Close() })
	go func() { _ = srv.Serve(l) }() // it ends with the listener
}
