// Package kube is the Kubernetes API as a program in a pod has it, by plain
// HTTP in a few lines: client-go is larger than all of the image that the
// lab's own servers are part of.
//
// The nouns: a [Client] sends requests in the name of its pod's ServiceAccount;
// a [Mirror] keeps lists of the API up to date. Start with [InCluster].
package kube

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Client is a client of one API server.
type Client struct {
	Base  string // "https://10.96.0.1:443"
	HTTP  *http.Client
	Token func() (string, error) // asked again and again: it is replaced before it expires
	Agent string                 // the User-Agent
}

// accountDir is where a pod finds its ServiceAccount.
const accountDir = "/var/run/secrets/kubernetes.io/serviceaccount"

// InCluster is a Client for a pod. ("Accessing the Kubernetes API from a Pod".)
func InCluster(agent string) (*Client, error) {
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return nil, errors.New("unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined: this is for pods")
	}
	ca, err := os.ReadFile(filepath.Join(accountDir, "ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("the API's certificate authority: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return &Client{
		Base: "https://" + net.JoinHostPort(host, port), Agent: agent,
		HTTP: &http.Client{Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, TLSHandshakeTimeout: 10 * time.Second,
			DialContext:           (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 10 * time.Second}).DialContext,
			ResponseHeaderTimeout: 30 * time.Second,
		}},
		Token: func() (string, error) {
			text, err := os.ReadFile(filepath.Join(accountDir, "token"))
			return strings.TrimSpace(string(text)), err
		},
	}, nil
}

// Do sends a request and decodes its answer, unless that is nil. An answer that
// is no success is an error in the API's words.
func (c *Client) Do(ctx context.Context, method, path, mediaType string, body, answer any) error {
	res, err := c.open(ctx, method, path, mediaType, body)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if answer == nil {
		_, err = io.Copy(io.Discard, res.Body)
		return err
	}
	return json.NewDecoder(res.Body).Decode(answer)
}

// errExpired is the answer to a version that the API no longer has.
var errExpired = errors.New("the version is too old")

// The errors for what is not there, and for what has changed meanwhile or is there
// already.
var (
	ErrNotFound = errors.New("not found")
	ErrConflict = errors.New("conflict")
)

// open sends a request; the caller closes the answer's body.
func (c *Client) open(ctx context.Context, method, path, mediaType string, body any) (*http.Response, error) {
	var data []byte
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, c.Base+path, bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	token, err := c.Token()
	if err != nil {
		return nil, fmt.Errorf("the ServiceAccount's token: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("User-Agent", c.Agent)
	req.Header.Set("Accept", "application/json")
	if mediaType != "" {
		req.Header.Set("Content-Type", mediaType)
	}
	res, err := c.HTTP.Do(req)
	if err != nil || res.StatusCode < 300 {
		return res, err
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusGone {
		return nil, errExpired
	}
	var status struct{ Message string }
	text, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if json.Unmarshal(text, &status) != nil || status.Message == "" {
		status.Message = strings.TrimSpace(string(text))
	}
	switch res.StatusCode {
	case http.StatusNotFound:
		return nil, fmt.Errorf("%w: %s", ErrNotFound, status.Message)
	case http.StatusConflict:
		return nil, fmt.Errorf("%w: %s", ErrConflict, status.Message)
	}
	return nil, fmt.Errorf("%s: %s", res.Status, status.Message)
}
