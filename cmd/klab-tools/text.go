package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// textApplets read lines and write lines.
func textApplets() []applet {
	return []applet{
		{name: "echo", usage: "[-n] [WORD ...]", run: echo},
		{name: "seq", usage: "[FIRST [STEP]] LAST", run: seq},
		{name: "yes", usage: "[WORD ...]", run: yes},
		{name: "head", usage: "[-n LINES] [-c BYTES] [FILE ...]", run: head},
		{name: "tail", usage: "[-n LINES] [-f] [FILE]", run: tail, unbuffered: true},
		{name: "grep", usage: "[-ivcqnoEF] PATTERN [FILE ...]", run: grep, unbuffered: true},
		{name: "wc", usage: "[-lwc] [FILE ...]", run: wc},
		{name: "sort", usage: "[-rnu] [FILE ...]", run: sortLines},
		{name: "uniq", usage: "[-c] [FILE]", run: uniq},
		{name: "cut", usage: "-f LIST [-d CHAR] [FILE ...]", run: cut},
		{name: "tee", usage: "[-a] [FILE ...]", run: tee, unbuffered: true},
	}
}

func echo(c *call) int {
	args, end := c.args, "\n"
	if len(args) > 0 && args[0] == "-n" {
		args, end = args[1:], ""
	}
	fmt.Fprint(c.out, strings.Join(args, " ")+end)
	return 0
}

func seq(c *call) int {
	var n []int
	for _, a := range c.args {
		v, err := strconv.Atoi(a)
		if err != nil {
			return c.usage(fmt.Sprintf("%q is no whole number", a))
		}
		n = append(n, v)
	}
	first, step, last := 1, 1, 0
	switch len(n) {
	case 1:
		last = n[0]
	case 2:
		first, last = n[0], n[1]
	case 3:
		first, step, last = n[0], n[1], n[2]
	default:
		return c.usage("one to three numbers")
	}
	if step == 0 {
		return c.usage("the step must not be 0")
	}
	for i := first; (step > 0 && i <= last) || (step < 0 && i >= last); i += step {
		fmt.Fprintln(c.out, i)
	}
	return 0
}

func yes(c *call) int {
	line := "y"
	if len(c.args) > 0 {
		line = strings.Join(c.args, " ")
	}
	for {
		if _, err := fmt.Fprintln(c.out, line); err != nil {
			return 1
		}
	}
}

// each opens the files one after another, or standard input if there are none,
// and returns 1 if one of them failed.
func (c *call) each(files []string, f func(name string, r io.Reader) error) int {
	if len(files) == 0 {
		files = []string{"-"}
	}
	code := 0
	for _, name := range files {
		if name == "-" {
			if err := f(name, c.in); err != nil {
				code = c.failf("%v", err)
			}
			continue
		}
		file, err := os.Open(name)
		if err == nil {
			err = f(name, file)
			file.Close()
		}
		if err != nil {
			code = c.failf("%v", err)
		}
	}
	return code
}

// lines calls f for each line without its end, until it returns false.
func lines(r io.Reader, f func(line string) bool) error {
	br := bufio.NewReader(r)
	for {
		line, err := br.ReadString('\n')
		if line != "" && !f(strings.TrimSuffix(line, "\n")) {
			return nil
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// dashNumber turns the old form "head -3" into "head -n 3".
func dashNumber(args []string) []string {
	if len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' && args[0][1] >= '0' && args[0][1] <= '9' {
		return slices.Concat([]string{"-n", args[0][1:]}, args[1:])
	}
	return args
}

func head(c *call) int {
	o, files, err := parse("n= c=", dashNumber(c.args))
	if err != nil {
		return c.usage(err.Error())
	}
	count := 10
	for _, l := range []string{"n", "c"} {
		if o.has(l) {
			if count, err = strconv.Atoi(o[l]); err != nil || count < 0 {
				return c.usage("how many?")
			}
		}
	}
	return c.each(files, func(_ string, r io.Reader) error {
		if o.has("c") {
			_, err := io.CopyN(c.out, r, int64(count))
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return err
		}
		if count == 0 {
			return nil
		}
		left := count
		return lines(r, func(l string) bool { fmt.Fprintln(c.out, l); left--; return left > 0 })
	})
}

func tail(c *call) int {
	o, files, err := parse("n= f F", dashNumber(c.args))
	if err != nil {
		return c.usage(err.Error())
	}
	count := 10
	if o.has("n") {
		if count, err = strconv.Atoi(strings.TrimPrefix(o["n"], "+")); err != nil || count < 0 {
			return c.usage("how many lines?")
		}
	}
	follow := o.has("f") || o.has("F")
	return c.each(files, func(name string, r io.Reader) error {
		var last []string
		n := 0
		err := lines(r, func(l string) bool {
			n++
			if strings.HasPrefix(o["n"], "+") {
				if n >= count {
					fmt.Fprintln(c.out, l)
				}
				return true
			}
			if last = append(last, l); len(last) > count {
				last = last[1:]
			}
			return true
		})
		for _, l := range last {
			fmt.Fprintln(c.out, l)
		}
		for follow && err == nil && name != "-" {
			if _, err = io.Copy(c.out, r); err == nil {
				time.Sleep(100 * time.Millisecond)
			}
		}
		return err
	})
}

func grep(c *call) int {
	o, rest, err := parse("i v c q n o E F e=", c.args)
	if err != nil {
		return c.usage(err.Error())
	}
	pattern, given := o["e"]
	if !given {
		if len(rest) == 0 {
			return c.usage("which pattern?")
		}
		pattern, rest = rest[0], rest[1:]
	}
	if o.has("F") {
		pattern = regexp.QuoteMeta(pattern)
	}
	if o.has("i") {
		pattern = "(?i)" + pattern
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return c.usage(err.Error())
	}
	total := 0
	code := c.each(rest, func(name string, r io.Reader) error {
		found, n := 0, 0
		err := lines(r, func(l string) bool {
			n++
			if re.MatchString(l) == o.has("v") {
				return true
			}
			found++
			if !o.has("q") && !o.has("c") {
				c.match(o, re, len(rest) > 1, name, n, l)
			}
			return !o.has("q")
		})
		if o.has("c") {
			fmt.Fprintln(c.out, found)
		}
		total += found
		return err
	})
	switch {
	case o.has("q") && total > 0:
		return 0
	case code != 0:
		return 2
	case total == 0:
		return 1
	}
	return 0
}

// match writes one line that grep found.
func (c *call) match(o options, re *regexp.Regexp, many bool, file string, n int, line string) {
	prefix := ""
	if many {
		prefix = file + ":"
	}
	if o.has("n") {
		prefix += strconv.Itoa(n) + ":"
	}
	if !o.has("o") || o.has("v") {
		fmt.Fprintln(c.out, prefix+line)
		return
	}
	for _, m := range re.FindAllString(line, -1) {
		fmt.Fprintln(c.out, prefix+m)
	}
}
