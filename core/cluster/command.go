package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"k8s.io/client-go/rest"

	"github.com/klab-project/klab/core/step/remote"
)

// Commands are what the administrator asks of the daemon, beside the API: PUT
// with JSON, answered with JSON or with a sentence that says what is wrong.

// command sends one to the daemon; its answer goes to answer, unless that is nil.
func (d Dir) command(ctx context.Context, path string, body, answer any) error {
	client, host, err := d.commander()
	if err != nil {
		return err
	}
	return putJSON(ctx, client, host+path, body, answer)
}

// commander is who may command, and the daemon's address.
func (d Dir) commander() (client *http.Client, host string, err error) {
	if d.Daemon() == 0 {
		return nil, "", d.notUp()
	}
	c, err := d.RESTConfig()
	if err != nil {
		return nil, "", err
	}
	client, err = rest.HTTPClientFor(c)
	return client, c.Host, err
}

// nodeCommand is command for one node.
func (d Dir) nodeCommand(ctx context.Context, path, node string, body, answer any) error {
	return d.command(ctx, strings.Replace(path, "{node}", node, 1), body, answer)
}

// putJSON sends body, and reads the answer if one is wanted.
func putJSON(ctx context.Context, client *http.Client, url string, body, answer any) error {
	res, err := put(ctx, client, url, body)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || answer == nil {
		return err
	}
	return json.Unmarshal(text, answer)
}

// put sends body; an answer that is not OK is the error. The caller closes the
// answer's body.
func put(ctx context.Context, client *http.Client, url string, body any) (*http.Response, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, url, bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	res, err := client.Do(req)
	if err != nil || res.StatusCode == http.StatusOK {
		return res, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return nil, errors.Join(err, errors.New(strings.TrimSpace(string(text))))
}

// mostBody bounds what a command may send, in bytes.
const mostBody = 1 << 16

// wrong is the error of a command that asks for what cannot be.
type wrong struct{ error }

func wrongf(format string, args ...any) error { return wrong{fmt.Errorf(format, args...)} }

// serveCommand answers the administrator's commands. What do returns is sent,
// if it is not nil.
func serveCommand[T any](d *daemon, do func(ctx context.Context, r *http.Request, body T) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var body T
		if !d.commanded(w, r, &body) {
			return
		}
		answer, err := do(r.Context(), r, body)
		switch {
		case errors.As(err, new(wrong)):
			http.Error(w, err.Error(), http.StatusBadRequest)
		case err != nil:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		case answer != nil:
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(answer)
		}
	}
}

// commanded reads what the administrator sends. If it is false the request has
// been answered.
func (d *daemon) commanded(w http.ResponseWriter, r *http.Request, body any) bool {
	if err := d.allow(r, remote.Masters); err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return false
	}
	if err := json.NewDecoder(io.LimitReader(r.Body, mostBody)).Decode(body); err != nil {
		http.Error(w, fmt.Sprintf("the request is not as it should be: %v", err), http.StatusBadRequest)
		return false
	}
	return true
}

// serveNodeCommand answers commands about a node of the cluster.
func serveNodeCommand[T any](d *daemon, do func(ctx context.Context, n *node, body T) (any, error)) http.HandlerFunc {
	return serveCommand(d, func(ctx context.Context, r *http.Request, body T) (any, error) {
		name := r.PathValue("node")
		all := d.nodes.all()
		i := slices.IndexFunc(all, func(n *node) bool { return n.name == name })
		if i < 0 {
			return nil, wrongf("there is no node %q: this cluster has %s", name, d.nodes.names())
		}
		return do(ctx, all[i], body)
	})
}
