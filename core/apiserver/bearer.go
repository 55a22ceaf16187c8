package apiserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/klab-project/klab/core/api"
	"github.com/klab-project/klab/core/store"
)

const (
	serviceAccountPrefix = "system:serviceaccount:"
	serviceAccountsGroup = "system:serviceaccounts"
)

// bearer is the token of a request, or "". Browsers cannot set headers of a
// websocket, and send it among the protocols.
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token)
	}
	const prefix = "base64url.bearer.authorization.k8s.io."
	for _, header := range r.Header.Values("Sec-Websocket-Protocol") {
		for protocol := range strings.SplitSeq(header, ",") {
			if encoded, ok := strings.CutPrefix(strings.TrimSpace(protocol), prefix); ok {
				if raw, err := base64url.DecodeString(encoded); err == nil {
					return string(raw)
				}
			}
		}
	}
	return ""
}

// whose finds out whose token this is, and to which of the audiences wanted it
// is addressed. Its objects must exist, with the UIDs that the token names.
// Source: k8s.io/kubernetes/pkg/serviceaccount/claims.go.
func (s *Server) whose(ctx context.Context, token string, wanted []string) (identity, []string, error) {
	c, err := s.tokens.verify(token, s.cfg.Now())
	if err != nil {
		return anonymous, nil, err
	}
	audiences := s.tokens.meant(c, wanted)
	if len(audiences) == 0 {
		return anonymous, nil, fmt.Errorf("token audiences %q is invalid for the target audiences %q", c.Audience, wanted)
	}
	k := &c.Kubernetes
	if err := s.bound(ctx, "serviceaccounts", k.Namespace, &k.ServiceAccount); err != nil {
		return anonymous, nil, err
	}
	for resource, ref := range map[string]*boundRef{"pods": k.Pod, "secrets": k.Secret} {
		if err := s.bound(ctx, resource, k.Namespace, ref); err != nil {
			return anonymous, nil, err
		}
	}
	if k.Pod == nil { // a pod's node is only said, and need not be there
		if err := s.bound(ctx, "nodes", "", k.Node); err != nil {
			return anonymous, nil, err
		}
	}
	return k.identity(c.ID), audiences, nil
}

// bound checks that an object of a token exists and is not being deleted for
// long.
func (s *Server) bound(ctx context.Context, resource, namespace string, ref *boundRef) error {
	if ref == nil {
		return nil
	}
	obj, err := s.lookup(ctx, corev1.SchemeGroupVersion.WithResource(resource), namespace, ref.Name)
	if err != nil {
		return fmt.Errorf("service account token has been invalidated: %s", err.Error()) // and not NotFound, which would be an answer
	}
	m, err := meta.Accessor(obj)
	if err != nil {
		return err
	}
	if string(m.GetUID()) != ref.UID {
		return fmt.Errorf("%s UID (%s) does not match claim (%s)", resource, m.GetUID(), ref.UID)
	}
	if t := m.GetDeletionTimestamp(); t != nil && t.Time.Before(s.cfg.Now().Add(-leeway)) {
		return errors.New("service account token has been invalidated")
	}
	return nil
}

// identity is who the token's holder is.
func (k *kubernetes) identity(id string) identity {
	i := identity{
		Name: serviceAccountPrefix + k.Namespace + ":" + k.ServiceAccount.Name, UID: k.ServiceAccount.UID,
		Groups: []string{serviceAccountsGroup, serviceAccountsGroup + ":" + k.Namespace}, Extra: map[string][]string{},
	}
	say := func(name, value string) {
		if value != "" {
			i.Extra["authentication.kubernetes.io/"+name] = []string{value}
		}
	}
	if k.Pod != nil {
		say("pod-name", k.Pod.Name)
		say("pod-uid", k.Pod.UID)
	}
	if k.Node != nil {
		say("node-name", k.Node.Name)
		say("node-uid", k.Node.UID)
	}
	if id != "" {
		say("credential-id", "JTI="+id)
	}
	return i
}

// lookup reads an object, from the cache if it is there.
func (s *Server) lookup(ctx context.Context, gvr schema.GroupVersionResource, namespace, name string) (runtime.Object, error) {
	row := api.Find(gvr)
	c, key := s.cachers[row.Prefix], row.Key(namespace, name)
	c.mu.Lock()
	e := c.objects[key]
	c.mu.Unlock()
	if e == nil {
		var err error
		if e, err = c.get(ctx, key); errors.Is(err, store.ErrNotFound) {
			return nil, apierrors.NewNotFound(row.GR(), name)
		} else if err != nil {
			return nil, storeError(err)
		}
	}
	return e.obj, nil
}

// keySetPath is where the public keys of tokens are.
const keySetPath = "/openid/v1/jwks"

// openID answers others who want to know whether a token is this cluster's.
// Source: https://openid.net/specs/openid-connect-discovery-1_0.html
func (s *Server) openID(w http.ResponseWriter, r *http.Request) {
	host := r.Host
	if s.cfg.Endpoint.IsValid() {
		host = s.cfg.Endpoint.String()
	}
	mediaType, answer := "application/json", s.tokens.metadata("https://"+host+keySetPath)
	if r.URL.Path == keySetPath {
		var err error
		if answer, err = s.tokens.keySet(); err != nil {
			s.writeError(w, r, apierrors.NewInternalError(err), nil, nil)
			return
		}
		mediaType = "application/jwk-set+json"
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Cache-Control", "public, max-age=3600")
	_ = json.NewEncoder(w).Encode(answer)
}
