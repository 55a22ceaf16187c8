//go:build linux && cgo

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/core/runtime/crilog"
	"github.com/klab-project/klab/core/runtime/shim"
)

// parallelStarts bounds how many containers or commands are being started at
// once: more only make each other slower on few cores.
const parallelStarts = 4

// server is one node's containers.
type server struct {
	root   string
	pump   *crilog.Pump
	starts chan struct{} // a token per start under way

	mu          sync.Mutex
	containers  map[string]*container
	subscribers map[*subscriber]bool
	children    map[int]bool // processes that somebody waits for
}

func newServer(root string) (*server, error) {
	pump, err := crilog.OpenPump(filepath.Join(root, "pending"), warn)
	if err != nil {
		return nil, err
	}
	return &server{
		root:        root,
		pump:        pump,
		starts:      make(chan struct{}, parallelStarts),
		containers:  map[string]*container{},
		subscribers: map[*subscriber]bool{},
		children:    map[int]bool{},
	}, nil
}

func (s *server) stateDir() string { return filepath.Join(s.root, "rt") }

func (s *server) serve(l *net.UnixListener) error {
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		go s.call(conn)
	}
}

func (s *server) call(conn *net.UnixConn) {
	defer conn.Close()
	var req shim.Request
	files, err := shim.Receive(conn, &req)
	if err != nil {
		return
	}
	defer shim.CloseAll(files)
	if req.Verb == shim.VerbEvents {
		s.follow(conn)
		return
	}
	res, err := s.answer(conn, &req, files)
	if res == nil {
		res = &shim.Response{}
	}
	if err != nil {
		res.Error = err.Error()
		var e *shim.Error
		if errors.As(err, &e) {
			res.Code = e.Code
		}
	}
	_ = shim.Send(conn, res)
	if req.Verb == shim.VerbShutdown {
		os.Exit(0)
	}
}

func (s *server) answer(conn *net.UnixConn, req *shim.Request, files []*os.File) (*shim.Response, error) {
	switch req.Verb {
	case shim.VerbPing, shim.VerbShutdown:
		return &shim.Response{Version: shim.Version}, nil
	case shim.VerbList:
		return &shim.Response{States: s.list()}, nil
	case shim.VerbCreate:
		return s.create(req.ID, req.Create)
	case shim.VerbDelete:
		return nil, s.delete(req.ID)
	}
	c := s.get(req.ID)
	if c == nil {
		return nil, &shim.Error{Code: shim.CodeNotFound, Message: fmt.Sprintf("container %q not found", req.ID)}
	}
	return c.answer(conn, req, files)
}

func (c *container) answer(conn *net.UnixConn, req *shim.Request, files []*os.File) (*shim.Response, error) {
	var err error
	switch req.Verb {
	case shim.VerbState:
	case shim.VerbStart:
		err = c.start()
	case shim.VerbKill:
		err = c.kill(unix.Signal(req.Signal))
	case shim.VerbWait:
		select {
		case <-c.done:
		case <-hungUp(conn):
			return nil, errors.New("the caller hung up")
		}
	case shim.VerbFreeze:
		err = c.freeze(true)
	case shim.VerbThaw:
		err = c.freeze(false)
	case shim.VerbReopen:
		err = c.output().reopen()
	case shim.VerbResize:
		err = c.output().resize(req.Size)
	case shim.VerbExec:
		return c.exec(conn, req.Exec, files)
	case shim.VerbAttach:
		err = c.attach(conn, req.Attach, files)
	case shim.VerbUpdate:
		err = c.setResources(req.Resources)
	default:
		err = fmt.Errorf("unknown verb %q: klab-rt is of version %s", req.Verb, shim.Version)
	}
	return &shim.Response{State: c.snapshot()}, err
}

func (s *server) get(id string) *container {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.containers[id]
}

func (s *server) list() []*shim.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	states := make([]*shim.State, 0, len(s.containers))
	for _, c := range s.containers {
		states = append(states, c.snapshot())
	}
	return states
}

// hungUp is closed when the caller ends the connection.
func hungUp(conn *net.UnixConn) <-chan struct{} {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = conn.Read(make([]byte, 1))
	}()
	return gone
}
