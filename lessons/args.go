package lessons

import (
	"regexp"
	"strings"
)

var firstOf = regexp.MustCompile(`\$\{first ([^}]*)\}`)

// args fills in names: ${first pods/default app=web} is the first such object
// that is not being deleted.
func (o *observer) args(list []string) []string {
	out := make([]string, len(list))
	for i, arg := range list {
		out[i] = firstOf.ReplaceAllStringFunc(arg, func(m string) string {
			where, labels, _ := strings.Cut(firstOf.FindStringSubmatch(m)[1], " ")
			resource, namespace, _ := strings.Cut(where, "/")
			for _, obj := range o.state.List(resource) {
				label, value, _ := strings.Cut(labels, "=")
				if obj.Namespace == namespace && obj.Get("metadata.deletionTimestamp") == nil &&
					(labels == "" || obj.Text("metadata.labels."+strings.ReplaceAll(label, ".", `\.`)) == value) {
					return obj.Name
				}
			}
			return where
		})
	}
	return out
}

// seenBy is what By gave for a prediction, as far as it can still be told.
func (o *observer) seenBy(p *Predict) string {
	for i, s := range o.lesson.Steps {
		if s.Predict == p {
			return o.steps[i].by
		}
	}
	return ""
}
