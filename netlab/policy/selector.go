package policy

import "slices"

// Selector is a label selector: everything that it says must hold. An empty one
// matches all.
type Selector struct {
	Labels      map[string]string
	Expressions []Expression
}

// Expression is a requirement. Operator is the API's word: "In", "NotIn",
// "Exists", "DoesNotExist".
type Expression struct {
	Key, Operator string
	Values        []string
}

// Matches tells whether labels are as the selector says. As in the API, NotIn
// also matches labels that do not have the key.
func (s *Selector) Matches(labels map[string]string) bool {
	for k, v := range s.Labels {
		if have, ok := labels[k]; !ok || have != v {
			return false
		}
	}
	return !slices.ContainsFunc(s.Expressions, func(e Expression) bool { return !e.matches(labels) })
}

func (e *Expression) matches(labels map[string]string) bool {
	v, ok := labels[e.Key]
	switch e.Operator {
	case "In":
		return ok && slices.Contains(e.Values, v)
	case "NotIn":
		return !ok || !slices.Contains(e.Values, v)
	case "Exists":
		return ok
	case "DoesNotExist":
		return !ok
	}
	return false
}
