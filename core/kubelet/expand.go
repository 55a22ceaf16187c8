package kubelet

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// expand replaces $(NAME) by NAME's value; $$ stands for $, and what is not
// known stays as it is. ("Define Dependent Environment Variables".)
func expand(s string, lookup func(string) (string, bool)) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '$' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		switch end := strings.IndexByte(s[i:], ')'); {
		case s[i+1] == '$':
			b.WriteByte('$')
			i++
		case s[i+1] == '(' && end > 0:
			name := s[i+2 : i+end]
			if value, ok := lookup(name); ok {
				b.WriteString(value)
			} else {
				b.WriteString(s[i : i+end+1])
			}
			i += end
		default:
			b.WriteByte('$')
		}
	}
	return b.String()
}

// among looks names up in an environment.
func among(env []corev1.EnvVar) func(string) (string, bool) {
	values := make(map[string]string, len(env))
	for _, v := range env {
		values[v.Name] = v.Value
	}
	return func(name string) (string, bool) { v, ok := values[name]; return v, ok }
}

// expandCommand is what the container runs, in its environment.
func expandCommand(c *corev1.Container, env []corev1.EnvVar) (command, args []string) {
	lookup := among(env)
	for _, word := range c.Command {
		command = append(command, expand(word, lookup))
	}
	for _, word := range c.Args {
		args = append(args, expand(word, lookup))
	}
	return command, args
}

// expandSubPath is a path inside of a volume; here every name must have a value.
func expandSubPath(expr string, env []corev1.EnvVar) (string, error) {
	lookup := among(env)
	var missing []string
	path := expand(expr, func(name string) (string, bool) {
		value, _ := lookup(name)
		if value == "" && !slices.Contains(missing, name) {
			missing = append(missing, name)
		}
		return value, true
	})
	if len(missing) > 0 {
		slices.Sort(missing)
		return "", fmt.Errorf("missing value for %s", strings.Join(missing, ", "))
	}
	return path, nil
}
