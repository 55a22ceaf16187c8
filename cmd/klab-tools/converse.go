package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
	"mvdan.cc/sh/v3/syntax"
)

// keyboard is a terminal in raw mode as the line editor wants it.
type keyboard struct{ *os.File }

// Read turns Ctrl+C into "erase the line and begin a new one": the line editor
// would take it for the end of the input.
func (k keyboard) Read(p []byte) (int, error) {
	n, err := k.File.Read(p[:max(1, len(p)/2)])
	if err != nil {
		return n, err
	}
	text := strings.ReplaceAll(string(p[:n]), "\x03", "\x15\r")
	return copy(p, text), nil
}

// converse reads lines from a terminal, with editing and history, and runs
// each when it is whole.
func (s *shell) converse(tty *os.File) int {
	lines := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{keyboard{tty}, s.out}, "")
	code, text := 0, ""
	for {
		line, err := s.readLine(tty, lines, text != "")
		if errors.Is(err, io.EOF) {
			fmt.Fprintln(s.out)
			return s.finish(code)
		}
		if err != nil {
			return s.failf("%v", err)
		}
		text += line + "\n"
		file, err := syntax.NewParser().Parse(strings.NewReader(text), "")
		if syntax.IsIncomplete(err) && line != "" {
			continue
		}
		text = ""
		if err != nil {
			code = s.failf("%v", err) + 1
			continue
		}
		exited := false
		if code, exited = s.statements(file.Stmts); exited {
			return code
		}
	}
}

// readLine asks for one line; the terminal is raw only meanwhile.
func (s *shell) readLine(tty *os.File, lines *term.Terminal, more bool) (string, error) {
	fd := int(tty.Fd())
	old, err := term.MakeRaw(fd)
	if err != nil {
		return "", err
	}
	defer term.Restore(fd, old)
	if width, height, err := term.GetSize(fd); err == nil && width > 0 {
		if err := lines.SetSize(width, height); err != nil {
			return "", err
		}
	}
	lines.SetPrompt(s.prompt(more))
	return lines.ReadLine()
}

// prompt says where we are: which pod, which directory.
func (s *shell) prompt(more bool) string {
	if more {
		return "> "
	}
	host, err := os.Hostname()
	if err != nil {
		host = "?"
	}
	sign := "$"
	if os.Geteuid() == 0 {
		sign = "#"
	}
	dir := s.runner.Dir
	return fmt.Sprintf("%s:%s%s ", host, dir, sign)
}
