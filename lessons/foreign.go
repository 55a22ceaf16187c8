package lessons

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/klab-project/klab/core/step/fold"
)

// Foreign is the error of a lesson that would be mixed up with what no lesson
// has made. Nothing was changed.
type Foreign struct {
	Lesson  *Lesson
	Objects []string // resource/namespace/name, or containers/NODE/NAME
}

// foreignNamed is how many of them are named in words.
const foreignNamed = 4

func (f *Foreign) Error() string { return f.In("en") }

// In says in a language what is in the way, why, and what to do.
func (f *Foreign) In(lang string) string {
	what := strings.Join(f.Objects[:min(foreignNamed, len(f.Objects))], ", ")
	if more := len(f.Objects) - foreignNamed; more > 0 {
		what += word(lang, "foreign.more", "n", strconv.Itoa(more))
	}
	parts := strings.Split(f.Objects[0], "/")
	name := parts[len(parts)-1]
	del := "klab kubectl delete " + parts[0] + " " + name
	switch {
	case parts[0] == "containers":
		del = "klab container --node " + parts[1] + " rm " + name
	case len(parts) == 3 && parts[1] != "default":
		del = "klab kubectl -n " + parts[1] + " delete " + parts[0] + " " + name
	}
	return word(lang, "foreign", "what", what, "delete", del, "n", f.Lesson.Number())
}

// mine refuses a lesson that would be mixed up with what no lesson has made.
func (s *Session) mine(ctx context.Context, w *owner) error {
	s.mu.Lock()
	list := w.foreign(s.lesson)
	known := slices.ContainsFunc(s.see.state.Marks, func(m fold.Mark) bool {
		return strings.HasPrefix(m.Name+" ", beginMark(s.lesson, "")+" ")
	})
	s.mu.Unlock()
	if !known { // who has taken the lesson here has made its containers in it
		list = append(list, s.containers(ctx)...)
	}
	if len(list) > 0 {
		return &Foreign{Lesson: s.lesson, Objects: list}
	}
	return nil
}

// containers are those without a Pod that have the names of the lesson's own.
func (s *Session) containers(ctx context.Context) (list []string) {
	on := map[string]string{}
	for _, made := range s.lesson.Makes {
		parts := strings.Split(made, "/")
		if parts[0] != "containers" {
			continue
		}
		if _, asked := on[parts[1]]; !asked {
			on[parts[1]], _ = s.host.Klab(ctx, "container", "--node", parts[1], "ls") // a node that is off has none that run
		}
		for line := range strings.Lines(on[parts[1]]) {
			if f := strings.Fields(line); len(f) > 0 && f[0] == parts[2] {
				list = append(list, made)
			}
		}
	}
	return list
}

// putAway deletes what lessons have made.
func (s *Session) putAway(ctx context.Context, w *owner) error {
	s.mu.Lock()
	left := w.left()
	s.mu.Unlock()
	for _, namespace := range slices.Backward(slices.Sorted(maps.Keys(left))) { // those without one, as namespaces, last
		args := []string{"delete", "--ignore-not-found", "--now", "--wait=true", "--timeout=60s"}
		if namespace != "" {
			args = append(args, "--namespace="+namespace)
		}
		slices.Sort(left[namespace])
		if _, err := s.host.Kubectl(ctx, "", append(args, left[namespace]...)...); err != nil {
			return err
		}
	}
	return nil
}
