package api

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/kubernetes/pkg/api/legacyscheme"

	// The groups of the table. Each adds its types, defaults, conversions and
	// declared validation to legacyscheme.Scheme.
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	_ "k8s.io/kubernetes/pkg/apis/authentication/install"
	_ "k8s.io/kubernetes/pkg/apis/authorization/install"
	_ "k8s.io/kubernetes/pkg/apis/autoscaling/install"
	_ "k8s.io/kubernetes/pkg/apis/certificates/install"
	_ "k8s.io/kubernetes/pkg/apis/coordination/install"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	_ "k8s.io/kubernetes/pkg/apis/discovery/install"
	_ "k8s.io/kubernetes/pkg/apis/events/install"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	_ "k8s.io/kubernetes/pkg/apis/node/install"
	_ "k8s.io/kubernetes/pkg/apis/policy/install"
	_ "k8s.io/kubernetes/pkg/apis/rbac/install"
	_ "k8s.io/kubernetes/pkg/apis/scheduling/install"
	metricsinstall "k8s.io/metrics/pkg/apis/metrics/install"
)

// Scheme knows all types, versioned and internal, with their defaults and
// conversions.
func Scheme() *runtime.Scheme { return scheme() }

// scheme adds the one group that is not part of k8s.io/kubernetes.
var scheme = sync.OnceValue(func() *runtime.Scheme {
	metricsinstall.Install(legacyscheme.Scheme)
	return legacyscheme.Scheme
})

// Codecs knows the formats: JSON, YAML and protobuf.
func Codecs() serializer.CodecFactory {
	scheme()
	return legacyscheme.Codecs
}

// Parameters decodes the query of a request into an options object.
func Parameters() runtime.ParameterCodec { return legacyscheme.ParameterCodec }

// Serializer finds the format of a media type ("application/json"); parameters
// after a semicolon are ignored, and an empty media type is JSON.
func Serializer(mediaType string) (runtime.SerializerInfo, error) {
	mediaType, _, _ = strings.Cut(mediaType, ";")
	mediaType = strings.TrimSpace(mediaType)
	if mediaType == "" {
		mediaType = runtime.ContentTypeJSON
	}
	var supported []string
	for _, info := range Codecs().SupportedMediaTypes() {
		if info.MediaType == mediaType {
			return info, nil
		}
		supported = append(supported, info.MediaType)
	}
	return runtime.SerializerInfo{}, &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnsupportedMediaType, Reason: metav1.StatusReasonUnsupportedMediaType,
		Message: "the body of the request was in an unknown format - accepted media types include: " + strings.Join(supported, ", "),
	}}
}

// Decode makes the internal object of a body, with defaults. A body without
// apiVersion and kind is one of kind; a body of another kind is an error.
// fieldValidation is that of the request: with Strict (metav1.FieldValidation…)
// unknown and duplicate fields are an error, with Warn or "" they are warnings,
// with Ignore nothing. Errors are BadRequest Status errors in the API server's
// own words.
func Decode(body []byte, mediaType string, kind schema.GroupVersionKind, fieldValidation string) (obj runtime.Object, warnings []string, err error) {
	info, err := Serializer(mediaType)
	if err != nil {
		return nil, nil, err
	}
	s := info.Serializer
	if fieldValidation != metav1.FieldValidationIgnore {
		s = info.StrictSerializer
	}
	into, err := Scheme().New(schema.GroupVersionKind{Group: kind.Group, Version: runtime.APIVersionInternal, Kind: kind.Kind})
	if err != nil {
		return nil, nil, apierrors.NewInternalError(err)
	}
	hub := schema.GroupVersion{Group: kind.Group, Version: runtime.APIVersionInternal}
	obj, found, err := Codecs().DecoderToVersion(s, hub).Decode(body, &kind, into)
	if err != nil {
		strict, ok := runtime.AsStrictDecodingError(err)
		if !ok || obj == nil || fieldValidation == metav1.FieldValidationStrict {
			return nil, nil, undecodable(err, kind.Kind, found, body)
		}
		for _, e := range strict.Errors() {
			warnings = append(warnings, fieldWarnings(e.Error())...)
		}
	}
	if gv := found.GroupVersion(); gv != kind.GroupVersion() {
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf(
			"the API version in the data (%s) does not match the expected API version (%s)", gv, kind.GroupVersion()))
	}
	return obj, warnings, nil
}

// undecodable says that a body is no object of kind.
func undecodable(err error, kind string, found *schema.GroupVersionKind, body []byte) error {
	if found != nil && found.Kind != "" {
		return apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", found.Kind, found.Version, kind, err))
	}
	return apierrors.NewBadRequest(fmt.Sprintf("the object provided is unrecognized (must be of type %s): %v (%s)", kind, err, summary(body)))
}

// summary is the beginning of a body that is not understood.
func summary(body []byte) string {
	const most = 30
	if len(body) == 0 {
		return "<empty>"
	}
	more := ""
	if len(body) > most {
		body, more = body[:most], " ..."
	}
	if body[0] == '{' {
		return string(body) + more
	}
	return hex.EncodeToString(body) + more
}

// fieldWarnings are the lines of a strict error of the YAML decoder, or the one
// of another decoder.
func fieldWarnings(message string) []string {
	for _, prefix := range []string{"error converting YAML to JSON: yaml: unmarshal errors:\n", "yaml: unmarshal errors:\n"} {
		if rest, ok := strings.CutPrefix(message, prefix); ok {
			lines := strings.Split(rest, "\n")
			for i := range lines {
				lines[i] = strings.TrimSpace(lines[i])
			}
			return lines
		}
	}
	return []string{message}
}

// Encode writes obj in a format, and in version gv. What the scheme does not
// know, such as a Table or a PartialObjectMetadata, has its kind set and is
// written as it is.
func Encode(obj runtime.Object, mediaType string, gv schema.GroupVersion, pretty bool) ([]byte, error) {
	info, err := Serializer(mediaType)
	if err != nil {
		return nil, err
	}
	s := info.Serializer
	if pretty && info.PrettySerializer != nil {
		s = info.PrettySerializer
	}
	var encoder runtime.Encoder = s
	if _, _, err := Scheme().ObjectKinds(obj); err == nil {
		encoder = Codecs().EncoderForVersion(s, gv)
	} else if !runtime.IsNotRegisteredError(err) {
		return nil, err
	}
	return runtime.Encode(encoder, obj)
}

// ToVersioned converts an internal object to the resource's served version,
// with apiVersion and kind set. The result may share memory with obj: treat
// both as read-only afterwards.
func (r *Resource) ToVersioned(obj runtime.Object) (runtime.Object, error) {
	return Scheme().ConvertToVersion(obj, r.GV())
}

// ToInternal is the inverse of ToVersioned, with defaults.
func (r *Resource) ToInternal(obj runtime.Object) (runtime.Object, error) {
	obj = obj.DeepCopyObject()
	Scheme().Default(obj)
	return Scheme().ConvertToVersion(obj, schema.GroupVersion{Group: r.Group, Version: runtime.APIVersionInternal})
}

// NewList makes a versioned list of internal or versioned objects.
func (r *Resource) NewList(items []runtime.Object, lm metav1.ListMeta) (runtime.Object, error) {
	list := must(r.Group, r.Version, r.ListKind)
	versioned := make([]runtime.Object, len(items))
	for i, item := range items {
		var err error
		if versioned[i], err = r.ToVersioned(item); err != nil {
			return nil, err
		}
		// As in every list of the API, items have neither apiVersion nor kind.
		versioned[i].GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	}
	if err := meta.SetList(list, versioned); err != nil {
		return nil, err
	}
	list.GetObjectKind().SetGroupVersionKind(r.GV().WithKind(r.ListKind))
	m, err := meta.ListAccessor(list)
	if err != nil {
		return nil, err
	}
	m.SetResourceVersion(lm.ResourceVersion)
	m.SetContinue(lm.Continue)
	m.SetRemainingItemCount(lm.RemainingItemCount)
	return list, nil
}

// EncodeStored is the value of an internal object in the store: JSON in the
// storage version, without resourceVersion, which is the key's revision.
func (r *Resource) EncodeStored(obj runtime.Object) ([]byte, error) {
	versioned, err := Scheme().ConvertToVersion(obj, r.Storage)
	if err != nil {
		return nil, err
	}
	m, err := meta.Accessor(versioned)
	if err != nil {
		return nil, err
	}
	if version := m.GetResourceVersion(); version != "" {
		// The versioned object's metadata is its own copy.
		m.SetResourceVersion("")
	}
	info, err := Serializer(runtime.ContentTypeJSON)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := info.Serializer.Encode(versioned, &out); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// DecodeStored is the internal object of a value in the store.
func (r *Resource) DecodeStored(value []byte, revision int64) (runtime.Object, error) {
	kind := r.Storage.WithKind(r.Kind)
	hub := schema.GroupVersion{Group: r.Storage.Group, Version: runtime.APIVersionInternal}
	obj, _, err := Codecs().UniversalDecoder(hub).Decode(value, &kind, nil)
	if err != nil {
		return nil, fmt.Errorf("decode %s from the store: %w", r.Name, err)
	}
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	m.SetResourceVersion(strconv.FormatInt(revision, 10))
	return obj, nil
}
