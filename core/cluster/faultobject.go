package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/klab-project/klab/netlab/fault"
	"github.com/klab-project/klab/netlab/link"
)

// brokenObject is a kind of change: a value in an object of the API. Its Key is
// "RESOURCE NAMESPACE/NAME POINTER" (RFC 6901).
type brokenObject struct{ client dynamic.Interface }

// breakable are the resources that cards change.
var breakable = map[string]schema.GroupVersionResource{
	"services":         {Version: "v1", Resource: "services"},
	"deployments.apps": {Group: "apps", Version: "v1", Resource: "deployments"},
}

// valueWas is what was at the pointer.
type valueWas struct {
	UID   types.UID `json:"uid"`
	There bool      `json:"there"`
	Value any       `json:"value,omitempty"`
}

type place struct {
	dynamic.ResourceInterface
	name    string
	pointer string
}

func (k brokenObject) place(c fault.Change) (p place, err error) {
	words := strings.Fields(c.Key)
	if len(words) != 3 {
		return p, fmt.Errorf("%q names no value of an object", c.Key)
	}
	namespace, name, _ := strings.Cut(words[1], "/")
	resource, ok := breakable[words[0]]
	if !ok {
		return p, fmt.Errorf("no card changes %s", words[0])
	}
	return place{k.client.Resource(resource).Namespace(namespace), name, words[2]}, nil
}

// have is what is at the place now.
func (p place) have(ctx context.Context) (v valueWas, err error) {
	o, err := p.Get(ctx, p.name, metav1.GetOptions{})
	if err != nil {
		return v, err
	}
	v.UID = o.GetUID()
	parts := strings.Split(strings.TrimPrefix(p.pointer, "/"), "/")
	var at any = o.Object
	for i, part := range parts {
		last := i == len(parts)-1
		switch in := at.(type) {
		case map[string]any:
			at, v.There = in[part]
		case []any:
			n, err := strconv.Atoi(part)
			if v.There = err == nil && n < len(in); v.There {
				at = in[n]
			}
		default:
			v.There = false
		}
		if !v.There && !last {
			return v, fmt.Errorf("%s has no %s that could be broken", p.name, strings.Join(parts[:i+1], "."))
		}
	}
	if v.There {
		v.Value = at
	}
	return v, nil
}

// is tells whether the value is what the change makes of it.
func (v valueWas) is(c fault.Change) (bool, error) {
	var to, have any
	text, err := json.Marshal(v.Value)
	if err == nil {
		err = json.Unmarshal(text, &have)
	}
	if err == nil {
		err = json.Unmarshal([]byte(c.To), &to)
	}
	return v.There && reflect.DeepEqual(to, have), err
}

func (p place) patch(ctx context.Context, op string, value any) error {
	change := map[string]any{"op": op, "path": p.pointer}
	if op != "remove" {
		change["value"] = value
	}
	text, err := json.Marshal([]any{change})
	if err == nil {
		_, err = p.Patch(ctx, p.name, types.JSONPatchType, text, metav1.PatchOptions{FieldManager: fault.Actor})
	}
	return err
}

func (k brokenObject) Read(ctx context.Context, _ *link.Net, c fault.Change) (json.RawMessage, error) {
	p, err := k.place(c)
	if err != nil {
		return nil, err
	}
	have, err := p.have(ctx)
	if apierrors.IsNotFound(err) {
		return nil, wrongf("there is nothing to break: %v", err)
	}
	if err != nil {
		return nil, err
	}
	if same, err := have.is(c); err != nil || same {
		return nil, wrongf("there is nothing to break: %s is %s already", p.pointer, c.To)
	}
	return json.Marshal(have)
}

func (k brokenObject) Apply(ctx context.Context, _ *link.Net, c fault.Change) error {
	p, err := k.place(c)
	if err != nil {
		return err
	}
	var to any
	if err := json.Unmarshal([]byte(c.To), &to); err != nil {
		return err
	}
	return p.patch(ctx, "add", to) // of a member that is there: replace
}

func (k brokenObject) Restore(ctx context.Context, _ *link.Net, c fault.Change) error {
	p, err := k.place(c)
	if err != nil {
		return err
	}
	var before valueWas
	if err := json.Unmarshal(c.Was, &before); err != nil {
		return err
	}
	now, err := p.have(ctx)
	if apierrors.IsNotFound(err) || err == nil && now.UID != before.UID {
		return nil // it has gone, and the fault with it
	}
	if err != nil {
		return err
	}
	if same, err := now.is(c); err != nil || !same {
		return err // somebody has changed it since
	}
	if before.There {
		return p.patch(ctx, "replace", before.Value)
	}
	return p.patch(ctx, "remove", nil)
}
