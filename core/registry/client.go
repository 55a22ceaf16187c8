package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/klab-project/klab/core/registry/archive"
)

// Client loads images into a registry of klab's and removes them again.
type Client struct {
	HTTP *http.Client
	Base string // of the registry, without /v2: https://127.0.0.1:6443/klab/registry
}

// Listed is one image that a registry has.
type Listed struct {
	Name   string // registry.k8s.io/pause:3.10
	Digest string
	Size   int64 // of the configuration and the layers, compressed as they are
}

// Push loads an image under a name.
func (c *Client) Push(ctx context.Context, ref name.Tag, image archive.Image) error {
	for _, b := range image.Blobs {
		path := blobsPath(ref) + b.Digest.String()
		status, err := c.do(ctx, http.MethodHead, path, ref, nil, nil)
		if err != nil && status != http.StatusNotFound {
			return err
		}
		if status == http.StatusOK {
			continue
		}
		body := upload{b.Open(), b.Size, "application/octet-stream"}
		if _, err := c.do(ctx, http.MethodPost, blobsPath(ref)+"uploads/?digest="+b.Digest.String(), ref, &body, nil); err != nil {
			return err
		}
	}
	body := upload{bytes.NewReader(image.Manifest), int64(len(image.Manifest)), string(image.MediaType)}
	_, err := c.do(ctx, http.MethodPut, manifestPath(ref, ref.TagStr()), ref, &body, nil)
	return err
}

// Remove removes a name, and what only it needed.
func (c *Client) Remove(ctx context.Context, ref name.Reference) error {
	_, err := c.do(ctx, http.MethodDelete, manifestPath(ref, ref.Identifier()), ref, nil, nil)
	return err
}

// List lists everything that can be pulled by a tag.
func (c *Client) List(ctx context.Context) ([]Listed, error) {
	var catalog struct{ Repositories []string }
	if _, err := c.do(ctx, http.MethodGet, "/v2/_catalog", nil, nil, &catalog); err != nil {
		return nil, err
	}
	var all []Listed
	for _, repo := range catalog.Repositories {
		tag, err := name.NewTag(official(repo))
		if err != nil {
			return nil, fmt.Errorf("the registry lists %q: %w", repo, err)
		}
		var tags struct{ Tags []string }
		if _, err := c.do(ctx, http.MethodGet, "/v2/"+tag.RepositoryStr()+"/tags/list", tag, nil, &tags); err != nil {
			return nil, err
		}
		for _, t := range tags.Tags {
			var manifest json.RawMessage
			if _, err := c.do(ctx, http.MethodGet, manifestPath(tag, t), tag, nil, &manifest); err != nil {
				return nil, err
			}
			all = append(all, listed(official(repo)+":"+t, manifest))
		}
	}
	slices.SortFunc(all, func(a, b Listed) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// official is the name that pods use for what is kept under key.
func official(key string) string {
	if host, _, _ := strings.Cut(key, "/"); host != key && (strings.ContainsAny(host, ".:") || host == "localhost") {
		return key
	}
	return Host + "/" + key
}

func listed(name string, manifest []byte) Listed {
	l := Listed{Name: name, Digest: digest(manifest), Size: int64(len(manifest))}
	parts, err := partsOf(manifest)
	if err != nil {
		return l
	}
	for _, p := range parts {
		l.Size += p.Size
	}
	return l
}

func blobsPath(ref name.Reference) string { return "/v2/" + ref.Context().RepositoryStr() + "/blobs/" }

func manifestPath(ref name.Reference, id string) string {
	return "/v2/" + ref.Context().RepositoryStr() + "/manifests/" + id
}

type upload struct {
	content io.Reader
	size    int64
	kind    string
}

// do sends one request about ref's repository; its answer is read as JSON.
func (c *Client) do(ctx context.Context, method, path string, ref name.Reference, body *upload, into any) (int, error) {
	at, err := url.Parse(c.Base + path)
	if err != nil {
		return 0, err
	}
	if ref != nil {
		q := at.Query()
		q.Set(mirrored, ref.Context().RegistryStr())
		at.RawQuery = q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, at.String(), nil)
	if err != nil {
		return 0, err
	}
	if body != nil {
		req.Body, req.ContentLength = io.NopCloser(body.content), body.size
		req.Header.Set("Content-Type", body.kind)
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusBadRequest {
		return resp.StatusCode, refusal(resp)
	}
	if into == nil {
		return resp.StatusCode, nil
	}
	return resp.StatusCode, json.NewDecoder(resp.Body).Decode(into)
}

// refusal is the error that a registry answered with.
func refusal(resp *http.Response) error {
	var answer struct{ Errors []struct{ Message string } }
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxManifest))
	if json.Unmarshal(text, &answer) == nil && len(answer.Errors) > 0 {
		return fmt.Errorf("the built-in registry refused: %s", answer.Errors[0].Message)
	}
	return fmt.Errorf("the built-in registry answered %s: %s", resp.Status, strings.TrimSpace(string(text)))
}
