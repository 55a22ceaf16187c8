package apiserver

import (
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/munnerz/goautoneg"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// accepted is the form in which a client wants its answer.
type accepted struct {
	runtime.SerializerInfo
	as schema.GroupVersionKind // Table, PartialObjectMetadata, PartialObjectMetadataList, or none
}

const protobufType = "application/vnd.kubernetes.protobuf"

// mediaTypes are those that objects are read and written in.
func mediaTypes(infos []runtime.SerializerInfo) string {
	var names []string
	for _, info := range infos {
		names = append(names, info.MediaType)
	}
	return strings.Join(names, ", ")
}

// negotiate picks the first clause of the Accept header that can be served.
func (s *Server) negotiate(r *http.Request) (accepted, error) {
	infos := s.codecs.SupportedMediaTypes()
	header := r.Header.Get("Accept")
	if header == "" {
		return accepted{SerializerInfo: pretty(r, infos[0], nil)}, nil
	}
	for _, clause := range goautoneg.ParseAccept(header) {
		as := schema.GroupVersionKind{Group: clause.Params["g"], Version: clause.Params["v"], Kind: clause.Params["as"]}
		for _, info := range infos {
			if !covers(clause.Type, info.MediaTypeType) || !covers(clause.SubType, info.MediaTypeSubType) {
				continue
			}
			if stream := clause.Params["stream"]; stream != "" && stream != "watch" {
				continue
			}
			if as != (schema.GroupVersionKind{}) && !transformable(as, info.MediaType) {
				continue
			}
			return accepted{SerializerInfo: pretty(r, info, clause.Params), as: as}, nil
		}
	}
	return accepted{}, statusError(http.StatusNotAcceptable, metav1.StatusReasonNotAcceptable,
		"only the following media types are accepted: "+mediaTypes(infos))
}

func covers(clause, have string) bool { return clause == "*" || clause == have }

// transformable says which views of an object exist. There is no protobuf
// form of tables.
func transformable(as schema.GroupVersionKind, mediaType string) bool {
	if as.Group != metav1.GroupName || (as.Version != "v1" && as.Version != "v1beta1") {
		return false
	}
	switch as.Kind {
	case "Table":
		return mediaType != protobufType
	case "PartialObjectMetadata", "PartialObjectMetadataList":
		return true
	}
	return false
}

// pretty chooses indented JSON for people with a browser or curl.
func pretty(r *http.Request, info runtime.SerializerInfo, params map[string]string) runtime.SerializerInfo {
	want := params["pretty"] == "1"
	if q := r.URL.Query().Get("pretty"); q != "" {
		want, _ = strconv.ParseBool(q)
	} else if agent := r.UserAgent(); strings.HasPrefix(agent, "curl") || strings.HasPrefix(agent, "Wget") || strings.HasPrefix(agent, "Mozilla/5.0") {
		want = true
	}
	if want && info.PrettySerializer != nil {
		info.Serializer = info.PrettySerializer
	}
	return info
}

// inputOf finds the serializer for a request's body.
func (s *Server) inputOf(contentType string) (runtime.SerializerInfo, error) {
	infos := s.codecs.SupportedMediaTypes()
	if contentType == "" {
		return infos[0], nil
	}
	mediaType, _, err := mime.ParseMediaType(contentType)
	if err == nil {
		if info, ok := runtime.SerializerInfoForMediaType(infos, mediaType); ok {
			return info, nil
		}
	}
	return runtime.SerializerInfo{}, unsupportedMedia(mediaTypes(infos))
}

func unsupportedMedia(supported string) error {
	return statusError(http.StatusUnsupportedMediaType, metav1.StatusReasonUnsupportedMediaType,
		fmt.Sprintf("the body of the request was in an unknown format - accepted media types include: %s", supported))
}

func statusError(code int, reason metav1.StatusReason, message string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: int32(code), Reason: reason, Message: message,
	}}
}
