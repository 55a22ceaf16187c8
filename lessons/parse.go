package lessons

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Error is a mistake of a lesson's author.
type Error struct {
	Path string
	Line int
	Msg  string
}

func (e *Error) Error() string { return fmt.Sprintf("%s:%d: %s", e.Path, e.Line, e.Msg) }

// Parse reads a lesson.md. Its errors are of type *Error; what it does not
// know is one of them.
func Parse(path string, source []byte) (*Lesson, error) {
	p := &parser{lesson: &Lesson{Path: path}, lines: strings.Split(strings.ReplaceAll(string(source), "\r\n", "\n"), "\n")}
	if err := p.parse(); err != nil {
		return nil, err
	}
	return p.lesson, p.verify()
}

type parser struct {
	lesson *Lesson
	lines  []string
	at     int // the line that is read next, from 0
	step   *Step
	names  map[string]int // ids and the lines they are defined in
}

func (p *parser) fail(line int, format string, args ...any) error {
	return &Error{p.lesson.Path, line, fmt.Sprintf(format, args...)}
}

func (p *parser) parse() error {
	p.names = map[string]int{}
	if strings.TrimSpace(p.lines[0]) != "---" {
		return p.fail(1, "a lesson begins with its front matter, between two lines of ---")
	}
	p.at = 1
	body, err := p.until("---")
	if err != nil {
		return err
	}
	if err := p.decode(2, body, &p.lesson.Front); err != nil {
		return err
	}
	for p.at < len(p.lines) {
		if err := p.section(); err != nil {
			return err
		}
	}
	return nil
}

// until returns the lines up to the one that ends them.
func (p *parser) until(end string) (string, error) {
	from := p.at
	for ; p.at < len(p.lines); p.at++ {
		if strings.TrimRight(p.lines[p.at], " \t") == end {
			p.at++
			return strings.Join(p.lines[from:p.at-1], "\n"), nil
		}
	}
	return "", p.fail(from, "the block that begins here is never ended by %s", end)
}

var heading = regexp.MustCompile(`^## ([a-z0-9][a-z0-9-]*)$`)

func (p *parser) section() error {
	line := strings.TrimRight(p.lines[p.at], " \t")
	number := p.at + 1
	p.at++
	switch {
	case line == "":
		return nil
	case strings.HasPrefix(line, "#"):
		m := heading.FindStringSubmatch(line)
		if m == nil {
			return p.fail(number, "a step begins with \"## its-id\" (small letters, digits, -), not %q", line)
		}
		p.step = &Step{ID: m[1], Line: number, Prose: map[string][]Para{}}
		p.lesson.Steps = append(p.lesson.Steps, p.step)
		return p.name("step", m[1], number)
	case p.step == nil:
		return p.fail(number, "this is before the first step (\"## its-id\")")
	case strings.HasPrefix(line, ":::"):
		return p.prose(line, number)
	case strings.HasPrefix(line, "```"):
		return p.block(strings.TrimPrefix(line, "```"), number)
	}
	return p.fail(number, "prose stands between \":::en\" or \":::zh\" and \":::\"")
}

func (p *parser) prose(line string, number int) error {
	lang := strings.TrimPrefix(line, ":::")
	if !slices.Contains(Langs, lang) {
		return p.fail(number, "prose is in en or zh, not %q", lang)
	}
	if _, twice := p.step.Prose[lang]; twice {
		return p.fail(number, "the step %q has its %s prose twice", p.step.ID, lang)
	}
	body, err := p.until(":::")
	if err != nil {
		return err
	}
	p.step.Prose[lang] = paragraphs(body)
	return nil
}

func (p *parser) block(kind string, number int) error {
	body, err := p.until("```")
	if err != nil {
		return err
	}
	s := p.step
	switch kind {
	case "do":
		if len(s.Do) > 0 {
			return p.fail(number, "the step %q has two do blocks: write one list", s.ID)
		}
		return p.do(number+1, body)
	case "predict", "quiz":
		if s.prompt() != nil {
			return p.fail(number, "the step %q has two questions: give the second one a step of its own", s.ID)
		}
		return p.question(kind, number, body)
	case "check":
		var c Check
		if err := p.decode(number+1, body, &c); err != nil {
			return err
		}
		c.Line = number
		s.Checks = append(s.Checks, c)
		return p.name("check", c.ID, number)
	case "hint":
		return p.decode(number+1, body, &s.Hints)
	}
	return p.fail(number, "a block is do, predict, check, hint or quiz, not %q", kind)
}

func (p *parser) question(kind string, number int, body string) (err error) {
	s := p.step
	if kind == "predict" {
		s.Predict = &Predict{Line: number}
		err = p.decode(number+1, body, s.Predict)
		s.Predict.Keys = slices.Sorted(maps.Keys(s.Predict.Choices))
	} else {
		s.Quiz = &Quiz{Line: number}
		err = p.decode(number+1, body, s.Quiz)
		s.Quiz.Keys = slices.Sorted(maps.Keys(s.Quiz.Choices))
	}
	return cmp.Or(err, p.name("question", s.prompt().id, number))
}

func (p *parser) do(line int, body string) error {
	var nodes []yaml.Node
	if err := p.decode(line, body, &nodes); err != nil {
		return err
	}
	if err := p.decode(line, body, &p.step.Do); err != nil {
		return err
	}
	for i := range p.step.Do {
		p.step.Do[i].Line = nodes[i].Line
	}
	return nil
}

// name notes an id, which no other part of that kind may have.
func (p *parser) name(kind, id string, line int) error {
	if id == "" {
		return p.fail(line, "this needs an id, by which progress is kept")
	}
	if other := p.names[kind+id]; other != 0 {
		return p.fail(line, "the id %q is taken, in line %d", id, other)
	}
	p.names[kind+id] = line
	return nil
}

var yamlLine = regexp.MustCompile(`(?:yaml: )?(?:unmarshal errors:\n  )?line (\d+): `)

// decode reads YAML whose first line is line of the file. Empty lines in
// front make the reader's own line numbers right.
func (p *parser) decode(line int, body string, into any) error {
	dec := yaml.NewDecoder(bytes.NewReader([]byte(strings.Repeat("\n", line-1) + body)))
	dec.KnownFields(true)
	err := dec.Decode(into)
	if err == nil || errors.Is(err, io.EOF) {
		return nil
	}
	msg := err.Error()
	if m := yamlLine.FindStringSubmatchIndex(msg); m != nil {
		_, _ = fmt.Sscan(msg[m[2]:m[3]], &line)
		msg = msg[m[1]:]
	}
	msg, _, _ = strings.Cut(msg, "\n")
	msg = unknownField.ReplaceAllString(msg, "unknown field $1")
	return p.fail(line, "%s", msg)
}

var unknownField = regexp.MustCompile(`field (\S+) not found in type \S+`)
