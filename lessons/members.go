package lessons

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/klab-project/klab/core/step"
)

// fits tells whether a value is as wanted: a pattern, or a number to compare
// with.
func fits(want, have string) bool {
	if rest, ok := strings.CutPrefix(want, ">"); ok {
		return number(have) > number(rest)
	}
	if rest, ok := strings.CutPrefix(want, "<"); ok {
		return have != "" && number(have) < number(rest)
	}
	return like(want, have)
}

// number reads "12", and seconds such as "1.5s".
func number(s string) float64 {
	n, _ := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(s), "s"), 64)
	return n
}

// members is who shares a container's namespace of a kind: the node, the pause
// container, containers by name, in this order. It is "" while the container
// does not run.
func members(e *step.Event, container, kind string) string {
	var d step.PodSeenDetail
	if e.Verb != step.PodSeen || e.Decode(&d) != nil {
		return ""
	}
	for _, ns := range d.Namespaces {
		if ns.Kind != kind || container == "" && !ns.Pause || container != "" && !slices.Contains(ns.Containers, container) {
			continue
		}
		var list []string
		if ns.Node {
			list = append(list, "node")
		}
		if ns.Pause {
			list = append(list, "pause")
		}
		return strings.Join(append(list, slices.Sorted(slices.Values(ns.Containers))...), " ")
	}
	return ""
}

// find is what the answer is about in a text: the first group of Find.
func (a *Answer) find(text string) string {
	text = strings.TrimSpace(text)
	if a.Find == "" {
		return text
	}
	re, err := regexp.Compile(a.Find)
	if err != nil {
		return ""
	}
	if m := re.FindStringSubmatch(text); len(m) > 1 {
		return m[1]
	}
	return ""
}

// outputMark names what entry k of a step's Do printed, in the lab's events.
func outputMark(l *Lesson, s *Step, k int) string {
	return stepMark(l, s) + " printed " + strconv.Itoa(k)
}

// outputs completes predictions about what a command prints: the event is its mark.
func (l *Lesson) outputs() {
	for _, s := range l.Steps {
		if p := s.Predict; p != nil && p.Answer.By == "output" {
			for k := range s.Do {
				if s.Do[k].Show != "" {
					p.Event = Match{Verb: step.Mark, Phase: step.PhaseFact, Detail: map[string]string{"name": outputMark(l, s, k)}}
				}
			}
		}
	}
}
