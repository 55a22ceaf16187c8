package apiserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// Transport is an http.RoundTripper that reaches the server without a network,
// as user kubernetes-admin. Watches stream; requests that upgrade their
// connection (exec, port-forward) are refused.
func (s *Server) Transport() http.RoundTripper {
	return s.TransportAs("kubernetes-admin", "system:masters")
}

// TransportAs is Transport as another user. Nothing that comes over a network
// can claim such an identity: it travels in the request's context.
func (s *Server) TransportAs(user string, groups ...string) http.RoundTripper {
	return &inProcess{server: s, user: user, groups: groups}
}

type inProcess struct {
	server *Server
	user   string
	groups []string
}

// errDropped is what a client sees of a connection that was dropped.
var errDropped = errors.New("the connection was dropped without an answer")

// RoundTrip implements http.RoundTripper. The handler runs in a goroutine that
// ends when it returns; it is told to by req's context, by closing the
// response's body, and by the server's Close.
func (t *inProcess) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	if !t.server.enter(&cancel) {
		cancel(nil)
		return nil, errClosed
	}
	inner := req.Clone(withIdentity(ctx, identity{Name: t.user, Groups: t.groups}))
	inner.RequestURI = req.URL.RequestURI()
	if inner.Body == nil {
		inner.Body = http.NoBody
	}
	answer := &response{
		header: http.Header{}, ready: make(chan struct{}), cancel: cancel,
		body: &stream{changed: make(chan struct{})},
	}
	go func() {
		defer t.server.leave(&cancel)
		defer cancel(nil)
		defer func() {
			if inner.Body != nil {
				_ = inner.Body.Close()
			}
			if p := recover(); p != nil {
				err := errDropped
				if cause, ok := p.(error); !ok || !errors.Is(cause, http.ErrAbortHandler) {
					err = fmt.Errorf("%w: %v", errDropped, p)
				}
				answer.end(err)
				return
			}
			answer.end(nil)
		}()
		t.server.Handler().ServeHTTP(answer, inner)
	}()
	select {
	case <-answer.ready:
	case <-req.Context().Done():
		cancel(context.Cause(req.Context()))
		return nil, context.Cause(req.Context())
	}
	if answer.err != nil {
		return nil, answer.err
	}
	stop := context.AfterFunc(ctx, func() { answer.body.close(context.Cause(ctx)) })
	return &http.Response{
		Status: fmt.Sprintf("%d %s", answer.code, http.StatusText(answer.code)), StatusCode: answer.code,
		Proto: "HTTP/2.0", ProtoMajor: 2, Header: answer.sent, Request: req, ContentLength: -1,
		Body: &responseBody{stream: answer.body, cancel: cancel, stop: stop, cause: func() error { return context.Cause(req.Context()) }},
	}, nil
}

// response is the http.ResponseWriter of an in-process request. Bytes are held
// back until the first Flush or the end.
type response struct {
	header, sent http.Header
	code         int
	ready        chan struct{} // closed when code, sent and err are final
	started      bool
	err          error
	held         bytes.Buffer
	body         *stream
	cancel       context.CancelCauseFunc
}

func (r *response) Header() http.Header { return r.header }

func (r *response) WriteHeader(code int) {
	if r.code == 0 && code >= 200 {
		r.code, r.sent = code, r.header.Clone()
	}
}

func (r *response) Write(p []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.held.Write(p)
}

// Flush implements http.Flusher.
func (r *response) Flush() {
	r.WriteHeader(http.StatusOK)
	r.body.write(r.held.Bytes())
	r.held.Reset()
	r.start()
}

func (r *response) start() {
	if !r.started {
		r.started = true
		close(r.ready)
	}
}

// end finishes the response; with an error the client sees a dropped
// connection, before or after the header.
func (r *response) end(err error) {
	if err != nil {
		r.err = err
		if r.started {
			err = io.ErrUnexpectedEOF
		}
		r.body.close(err)
		r.start()
		return
	}
	r.Flush()
	r.body.close(io.EOF)
}

// stream is a pipe without a limit: writing never waits for the reader.
type stream struct {
	mu      sync.Mutex
	data    []byte
	err     error // after data
	changed chan struct{}
}

func (s *stream) write(p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil && len(p) > 0 {
		s.data = append(s.data, p...)
		s.wake()
	}
}

func (s *stream) close(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
		s.wake()
	}
}

func (s *stream) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *stream) read(p []byte) (int, error) {
	for {
		s.mu.Lock()
		if len(s.data) > 0 {
			n := copy(p, s.data)
			if s.data = s.data[n:]; len(s.data) == 0 {
				s.data = nil
			}
			s.mu.Unlock()
			return n, nil
		}
		err, changed := s.err, s.changed
		s.mu.Unlock()
		if err != nil {
			return 0, err
		}
		<-changed
	}
}

type responseBody struct {
	stream *stream
	cancel context.CancelCauseFunc
	stop   func() bool
	cause  func() error // why the client itself gave up, if it did
}

// Read implements io.Reader. A client that gave up never reads a proper end.
func (b *responseBody) Read(p []byte) (int, error) {
	n, err := b.stream.read(p)
	if cause := b.cause(); errors.Is(err, io.EOF) && cause != nil {
		err = cause
	}
	return n, err
}

func (b *responseBody) Close() error {
	b.stop()
	b.cancel(context.Canceled)
	b.stream.close(http.ErrBodyReadAfterClose)
	return nil
}
