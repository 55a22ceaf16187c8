package view

import (
	"strconv"
	"strings"

	"github.com/klab-project/klab/core/step/fold"
)

// YAML is a decoded JSON value as lines of YAML, without managedFields.
func YAML(v any) []string {
	var y yaml
	y.value(v, 0, "")
	return y.lines
}

type yaml struct{ lines []string }

func (y *yaml) add(depth int, s string) {
	y.lines = append(y.lines, strings.Repeat("  ", depth)+s)
}

// value writes v; lead is what stands before it on its first line ("key:" or "-").
func (y *yaml) value(v any, depth int, lead string) {
	switch t := v.(type) {
	case map[string]any:
		y.object(t, depth, lead)
	case []any:
		if len(t) == 0 {
			y.add(depth, join(lead, "[]"))
			return
		}
		if lead != "" {
			y.add(depth, lead)
		}
		for _, e := range t {
			y.value(e, depth, "-")
		}
	default:
		y.scalar(v, depth, lead)
	}
}

func (y *yaml) object(m map[string]any, depth int, lead string) {
	keys := fold.SortedKeys(m)
	if len(keys) == 0 {
		y.add(depth, join(lead, "{}"))
		return
	}
	if lead != "" && lead != "-" {
		y.add(depth, lead)
		depth++
	}
	for i, k := range keys {
		if k == "managedFields" {
			continue
		}
		name := quote(k) + ":"
		if lead == "-" {
			if i == 0 {
				start := len(y.lines)
				y.value(m[k], depth+1, name)
				first := y.lines[start]
				y.lines[start] = strings.Repeat("  ", depth) + "- " + strings.TrimLeft(first, " ")
				continue
			}
			y.value(m[k], depth+1, name)
			continue
		}
		y.value(m[k], depth, name)
	}
}

func (y *yaml) scalar(v any, depth int, lead string) {
	s, ok := v.(string)
	switch {
	case v == nil:
		y.add(depth, join(lead, "null"))
	case ok && strings.Contains(s, "\n") && !IsHidden(s):
		y.add(depth, join(lead, "|"))
		for _, l := range strings.Split(strings.TrimRight(s, "\n"), "\n") {
			y.add(depth+1, l)
		}
	case ok && !IsHidden(s):
		y.add(depth, join(lead, quote(s)))
	case ok:
		y.add(depth, join(lead, s))
	default:
		y.add(depth, join(lead, fold.Scalar(v)))
	}
}

func join(lead, s string) string {
	if lead == "" {
		return s
	}
	return lead + " " + s
}

// quote quotes what YAML would take for something else than this text.
func quote(s string) string {
	if s == "" {
		return `""`
	}
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		return strconv.Quote(s)
	}
	switch strings.ToLower(s) {
	case "true", "false", "null", "yes", "no", "on", "off", "~":
		return strconv.Quote(s)
	}
	if strings.ContainsAny(s[:1], "!&*?|>@`\"'%#[]{}-,: ") || strings.Contains(s, ": ") || strings.Contains(s, " #") || strings.HasSuffix(s, ":") {
		return strconv.Quote(s)
	}
	return s
}
