package lessons

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/klab-project/klab/core/step/fold"
)

// madeBy is the annotation by which one knows what a lesson has applied: the
// lesson's id.
const madeBy = "klab.local/lesson"

// madeByPath is where an object has it.
const madeByPath = `metadata.annotations.klab\.local/lesson`

// owner tells what lessons have made from what the learner has made.
type owner struct {
	see     *observer
	lessons map[string]*Lesson
	names   map[string][]manifested // by the lesson's id
}

// manifested is an object of a lesson's manifests.
type manifested struct{ kind, namespace, name string }

func newOwner(see *observer, list []*Lesson) (*owner, error) {
	w := &owner{see, map[string]*Lesson{}, map[string][]manifested{}}
	for _, l := range list {
		names, err := l.manifested()
		if err != nil {
			return nil, err
		}
		w.lessons[l.ID], w.names[l.ID] = l, names
	}
	return w, nil
}

func (l *Lesson) manifested() (list []manifested, err error) {
	for _, st := range l.Steps {
		for _, d := range st.Do {
			if d.Apply == "" {
				continue
			}
			text, err := fs.ReadFile(l.Files, d.Apply)
			if err != nil {
				return nil, err
			}
			dec := yaml.NewDecoder(bytes.NewReader(text))
			for {
				var o struct {
					Kind     string
					Metadata struct{ Name, Namespace string }
				}
				if err := dec.Decode(&o); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					return nil, fmt.Errorf("%s: %w", d.Apply, err)
				}
				list = append(list, manifested{o.Kind, o.Metadata.Namespace, o.Metadata.Name})
			}
		}
	}
	return list, nil
}

// manifests tells whether the object is one of those of a lesson's manifests.
func (w *owner) manifests(id string, o *fold.Object) bool {
	return slices.ContainsFunc(w.names[id], func(m manifested) bool {
		in := m.namespace
		if in == "" && o.Namespace != "" {
			in = "default"
		}
		return m.kind == o.Text("kind") && m.name == o.Name && in == o.Namespace
	})
}

// made tells whether a lesson has made the object: it has its name in that
// lesson and the lesson's annotation, or the lesson tells the learner to make
// it and it came while that one was taken; or it belongs to such an object.
func (w *owner) made(o *fold.Object) bool {
	for range 5 {
		if w.manifests(o.Text(madeByPath), o) {
			return true
		}
		if l := w.lessons[w.see.begunBefore(o.Created)]; l != nil && slices.Contains(l.Makes, o.String()) {
			return true
		}
		up := w.above(o)
		if up == nil {
			return o.Text("metadata.ownerReferences[0].uid") != "" // it is being collected
		}
		o = up
	}
	return false
}

// above is the object that o belongs to, or nil.
func (w *owner) above(o *fold.Object) *fold.Object {
	uid := o.Text("metadata.ownerReferences[0].uid")
	for _, up := range w.see.state.Objects {
		if uid != "" && up.Text("metadata.uid") == uid {
			return up
		}
	}
	return nil
}

// foreign lists what is in the way of a lesson and was made by none.
func (w *owner) foreign(l *Lesson) []string {
	var list []string
	for key, o := range w.see.state.Objects {
		if o.Text("metadata.deletionTimestamp") != "" || w.made(o) {
			continue
		}
		alone := key.Namespace == "default" && slices.Contains([]string{"pods", "replicasets.apps", "networkpolicies.networking.k8s.io"}, key.Resource)
		inside := w.see.state.Objects[fold.Key{Resource: "namespaces", Name: key.Namespace}]
		if alone || w.manifests(l.ID, o) || slices.Contains(l.Makes, key.String()) || inside != nil && w.made(inside) && ofLearner(o) {
			list = append(list, w.top(o).Key.String())
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// top is the object that o belongs to in the end: the one to delete.
func (w *owner) top(o *fold.Object) *fold.Object {
	for range 5 {
		up := w.above(o)
		if up == nil {
			break
		}
		o = up
	}
	return o
}

// ofLearner tells whether an object of a namespace is not one of those that
// every namespace gets by itself.
func ofLearner(o *fold.Object) bool {
	own := o.Text("metadata.ownerReferences[0].uid") != "" || fold.Housekeeping(o.Resource)
	switch o.Resource {
	case "serviceaccounts":
		return !own && o.Name != "default"
	case "configmaps":
		return !own && o.Name != "kube-root-ca.crt"
	case "endpoints", "endpointslices.discovery.k8s.io":
		return false
	}
	return !own
}

// left are the objects that lessons have made and that belong to no other
// object, by namespace.
func (w *owner) left() map[string][]string {
	list := map[string][]string{}
	for key, o := range w.see.state.Objects {
		if o.Text("metadata.ownerReferences[0].uid") == "" && w.made(o) {
			list[key.Namespace] = append(list[key.Namespace], key.Resource+"/"+key.Name)
		}
	}
	return list
}

// marked is a manifest whose objects say which lesson has made them.
func marked(manifest []byte, l *Lesson) (string, error) {
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	dec := yaml.NewDecoder(bytes.NewReader(manifest))
	for {
		var doc yaml.Node
		if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
			return out.String(), enc.Close()
		} else if err != nil {
			return "", err
		}
		if len(doc.Content) == 0 { // nothing but a comment
			continue
		}
		notes := child(child(doc.Content[0], "metadata"), "annotations")
		notes.Content = append(notes.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: madeBy}, &yaml.Node{Kind: yaml.ScalarNode, Value: l.ID})
		if err := enc.Encode(&doc); err != nil {
			return "", err
		}
	}
}

// child is the mapping of a key, which is made if there is none.
func child(of *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(of.Content); i += 2 {
		if of.Content[i].Value == key {
			return of.Content[i+1]
		}
	}
	made := &yaml.Node{Kind: yaml.MappingNode}
	of.Content = append(of.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, made)
	return made
}
