package apiserver

import (
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

// framer writes the events of one watch in the client's format.
type framer struct {
	request *request
	accept  accepted
	table   *metav1.TableOptions
	out     http.ResponseWriter
	control *http.ResponseController
}

func (r *request) newFramer() (*framer, error) {
	if r.accept.StreamSerializer == nil {
		return nil, statusError(http.StatusNotAcceptable, metav1.StatusReasonNotAcceptable,
			"only the following media types are accepted: application/json;stream=watch, "+protobufType+";stream=watch")
	}
	f := &framer{request: r, accept: r.accept}
	if r.accept.as.Kind == "Table" {
		var err error
		if f.table, err = r.tableOptions(); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// begin sends the header, so that the client knows that the watch is there.
func (f *framer) begin(w http.ResponseWriter) {
	f.out, f.control = w, http.NewResponseController(w)
	mediaType := f.accept.MediaType
	if mediaType != runtime.ContentTypeJSON {
		mediaType += ";stream=watch"
	}
	h := w.Header()
	for k, v := range f.request.header {
		h[k] = v
	}
	h.Set("Content-Type", mediaType)
	h.Set("Cache-Control", "no-cache, private")
	w.WriteHeader(http.StatusOK)
	_ = f.control.Flush()
}

func (f *framer) send(frame []byte) error {
	if _, err := f.out.Write(frame); err != nil {
		return err
	}
	return f.control.Flush()
}

// event encodes one change. All watchers of one format share the bytes.
func (f *framer) event(kind watch.EventType, e *entry, rev int64) ([]byte, error) {
	obj, view := e.obj, f.request.resource.GV().String()+" "+f.accept.MediaType
	if kind == watch.Deleted {
		obj = obj.DeepCopyObject()
		setRevision(obj, rev) // a deletion has a revision of its own
		view = ""
	}
	if f.accept.as.Kind != "" {
		view = ""
	}
	body, err := e.encoded(view, func() ([]byte, error) { return f.encode(obj) })
	if err != nil {
		return nil, err
	}
	return f.frame(kind, body)
}

// encoded returns the bytes of a view, and makes them if nobody did before.
func (e *entry) encoded(view string, make func() ([]byte, error)) ([]byte, error) {
	if view == "" {
		return make()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if body := e.views[view]; body != nil {
		return body, nil
	}
	body, err := make()
	if err != nil {
		return nil, err
	}
	if e.views == nil {
		e.views = map[string][]byte{}
	}
	e.views[view] = body
	return body, nil
}

// encode makes the bytes of an internal object in the form that was asked for.
func (f *framer) encode(obj runtime.Object) ([]byte, error) {
	var out runtime.Object
	var err error
	switch f.accept.as.Kind {
	case "Table":
		if out, err = f.request.table([]runtime.Object{obj}, metav1.ListMeta{}, f.table); err == nil {
			f.table.NoHeaders = true // once is enough
		}
	case "PartialObjectMetadata", "PartialObjectMetadataList":
		out, err = f.request.partial(obj)
	default:
		out, err = versioned(f.request.resource, obj)
	}
	if err != nil {
		return nil, err
	}
	return f.bytes(out)
}

func (f *framer) bytes(obj runtime.Object) ([]byte, error) {
	var out strings.Builder
	if err := f.accept.Serializer.Encode(obj, &out); err != nil {
		return nil, err
	}
	return []byte(strings.TrimSuffix(out.String(), "\n")), nil
}

// bookmark and status encode what is no change of an object.
func (f *framer) bookmark(obj runtime.Object) ([]byte, error) {
	switch f.accept.as.Kind {
	case "Table":
		p, err := f.request.partial(obj)
		if err != nil {
			return nil, err
		}
		t := &metav1.Table{Rows: []metav1.TableRow{{Cells: []any{}, Object: runtime.RawExtension{Object: p}}}}
		m, err := meta.Accessor(obj)
		if err != nil {
			return nil, err
		}
		t.ResourceVersion = m.GetResourceVersion()
		t.SetGroupVersionKind(f.accept.as.GroupVersion().WithKind("Table"))
		obj = t
	case "PartialObjectMetadata", "PartialObjectMetadataList":
		p, err := f.request.partial(obj)
		if err != nil {
			return nil, err
		}
		obj = p
	}
	body, err := f.bytes(obj)
	if err != nil {
		return nil, err
	}
	return f.frame(watch.Bookmark, body)
}

func (f *framer) status(s *metav1.Status) error {
	s.Kind, s.APIVersion = "Status", "v1"
	body, err := f.bytes(s)
	if err != nil {
		return err
	}
	frame, err := f.frame(watch.Error, body)
	if err != nil {
		return err
	}
	return f.send(frame)
}

// frame wraps an encoded object: a line of JSON, or a length and a WatchEvent
// in protobuf.
func (f *framer) frame(kind watch.EventType, body []byte) ([]byte, error) {
	if f.accept.MediaType != protobufType {
		frame := make([]byte, 0, len(body)+40)
		frame = append(frame, `{"type":"`...)
		frame = append(frame, kind...)
		frame = append(frame, `","object":`...)
		frame = append(frame, body...)
		return append(frame, "}\n"...), nil
	}
	event := metav1.WatchEvent{Type: string(kind), Object: runtime.RawExtension{Raw: body}}
	size := event.Size()
	frame := make([]byte, 4+size)
	frame[0], frame[1], frame[2], frame[3] = byte(size>>24), byte(size>>16), byte(size>>8), byte(size)
	if _, err := event.MarshalToSizedBuffer(frame[4:]); err != nil {
		return nil, err
	}
	return frame, nil
}
