package pane

import (
	"strconv"
	"strings"

	"github.com/klab-project/klab/tui/canvas"
	"github.com/klab-project/klab/tui/lesson"
	"github.com/klab-project/klab/tui/text"
)

// Answering is an answer that is not locked yet.
type Answering struct {
	Choice int // -1: none
	Sure   int // 0: none
}

func (p Pen) prompt(q *lesson.Prompt, a Answering, w int) [][]seg {
	var out [][]seg
	head := p.L.T("lesson.predict")
	if q.Quiz {
		head = p.L.T("lesson.question")
	}
	for i, l := range text.Wrap(head+p.clean(q.Question), w) {
		if i == 0 && strings.HasPrefix(l, head) {
			out = append(out, []seg{{head, keyed}, {l[len(head):], strong}})
			continue
		}
		out = append(out, []seg{{l, strong}})
	}
	chosen := a.Choice
	if q.Locked {
		chosen = q.Choice
	}
	out = append(out, p.choices(q, chosen, w)...)
	if !q.Locked {
		return append(out, p.sure(a, w)...)
	}
	return append(out, p.outcome(q, w)...)
}

// choices in two columns where they fit, else one below the other.
func (p Pen) choices(q *lesson.Prompt, chosen, w int) [][]seg {
	one := func(i int) []seg {
		lead, st := "  ", plain
		switch {
		case q.Locked && q.Answer == i:
			lead, st = p.G.On+" ", good
		case i == chosen:
			lead, st = p.G.Right+" ", strong
		}
		return []seg{{lead, st}, {string(rune('a'+i)) + ") ", keyed}, {p.clean(q.Choices[i]), st}}
	}
	longest := 0
	for _, c := range q.Choices {
		longest = max(longest, text.Width(p.clean(c)))
	}
	var out [][]seg
	chose := q.Locked && q.Choice >= 0 && q.Choice < len(q.Choices) // then only that, and what happened
	if half := w / 2; !chose && longest+6 <= half && len(q.Choices) > 2 {
		rows := (len(q.Choices) + 1) / 2
		for i := range rows {
			left := one(i)
			used := 0
			for _, s := range left {
				used += text.Width(s.s)
			}
			left = append(left, seg{text.Pad("", half-used), plain})
			if i+rows < len(q.Choices) {
				left = append(left, one(i+rows)...)
			}
			out = append(out, left)
		}
		return out
	}
	for i := range q.Choices {
		if chose && i != q.Choice && i != q.Answer {
			continue
		}
		s := one(i)
		lines := text.Wrap(s[2].s, max(8, w-5))
		out = append(out, []seg{s[0], s[1], {lines[0], s[2].st}})
		for _, l := range lines[1:] {
			out = append(out, []seg{{"     " + l, s[2].st}})
		}
	}
	return out
}

func (p Pen) sure(a Answering, w int) [][]seg {
	answer := "[ ]"
	if a.Choice >= 0 {
		answer = "[" + string(rune('a'+a.Choice)) + "]"
	}
	line := []seg{{p.L.T("lesson.answer") + " ", dim}, {answer + "   ", strong}, {p.L.T("lesson.sure") + " ", dim}}
	for i := 1; i <= 3; i++ {
		st := plain
		if a.Sure == i {
			st = strong.R()
		}
		n := strconv.Itoa(i)
		line = append(line, seg{n + " ", keyed}, seg{p.L.T("lesson.sure." + n), st}, seg{"  ", plain})
	}
	used := 0
	for _, s := range line {
		used += text.Width(s.s)
	}
	lock := seg{p.L.T("lesson.lock"), keyed}
	if a.Choice < 0 {
		lock = seg{p.L.T("lesson.skip"), dim}
	}
	if used+text.Width(lock.s) <= w {
		return [][]seg{append(line, seg{" ", plain}, lock)}
	}
	if used <= w {
		return [][]seg{line}
	}
	return [][]seg{line[:3], line[3:], {lock}}
}

func (p Pen) outcome(q *lesson.Prompt, w int) [][]seg {
	var out [][]seg
	add := func(s string, st canvas.Style) {
		for _, l := range text.Wrap(s, w) {
			out = append(out, []seg{{l, st}})
		}
	}
	if q.Choice < 0 {
		add(p.L.T("lesson.skipped"), dim)
	} else {
		add(p.L.T("lesson.locked", "choice", string(rune('a'+q.Choice)), "sure", p.L.T("lesson.sure."+strconv.Itoa(min(max(q.Sure, 1), 3)))), dim)
	}
	switch {
	case q.Answer < 0:
		add(p.L.T("lesson.watch"), keyed)
		return out
	case q.Answer == q.Choice && q.Quiz:
		add(p.L.T("lesson.yes"), good)
	case q.Answer == q.Choice:
		add(p.L.T("lesson.right"), good)
	case q.Choice >= 0 && q.Quiz:
		add(p.L.T("lesson.no"), held)
	case q.Choice >= 0:
		add(p.L.T("lesson.other"), held)
	}
	if q.Seen != "" {
		add(p.clean(q.Seen), strong)
	}
	if q.Why != "" {
		add(p.clean(q.Why), plain)
	}
	return out
}
