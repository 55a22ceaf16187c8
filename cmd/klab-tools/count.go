package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

func wc(c *call) int {
	o, files, err := parse("l w c", c.args)
	if err != nil {
		return c.usage(err.Error())
	}
	return c.each(files, func(name string, r io.Reader) error {
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		var words []string
		for _, f := range []struct {
			letter string
			n      int
		}{{"l", strings.Count(string(data), "\n")}, {"w", len(strings.Fields(string(data)))}, {"c", len(data)}} {
			if len(o) == 0 || o.has(f.letter) {
				words = append(words, strconv.Itoa(f.n))
			}
		}
		if name != "-" {
			words = append(words, name)
		}
		_, err = fmt.Fprintln(c.out, strings.Join(words, " "))
		return err
	})
}

func sortLines(c *call) int {
	o, files, err := parse("r n u", c.args)
	if err != nil {
		return c.usage(err.Error())
	}
	var all []string
	code := c.each(files, func(_ string, r io.Reader) error {
		return lines(r, func(l string) bool { all = append(all, l); return true })
	})
	slices.SortStableFunc(all, func(a, b string) int {
		order := strings.Compare(a, b)
		if o.has("n") {
			if x, y := leadingNumber(a), leadingNumber(b); x != y {
				order = 1
				if x < y {
					order = -1
				}
			}
		}
		if o.has("r") {
			order = -order
		}
		return order
	})
	if o.has("u") {
		all = slices.Compact(all)
	}
	for _, l := range all {
		fmt.Fprintln(c.out, l)
	}
	return code
}

// leadingNumber is the number that a line begins with, else 0.
func leadingNumber(s string) float64 {
	s = strings.TrimLeft(s, " \t")
	end := strings.IndexFunc(s, func(r rune) bool { return !strings.ContainsRune("0123456789.-", r) })
	if end >= 0 {
		s = s[:end]
	}
	n, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0
	}
	return n
}

func uniq(c *call) int {
	o, files, err := parse("c", c.args)
	if err != nil {
		return c.usage(err.Error())
	}
	last, n := "", 0
	flush := func() {
		switch {
		case n == 0:
		case o.has("c"):
			fmt.Fprintf(c.out, "%7d %s\n", n, last)
		default:
			fmt.Fprintln(c.out, last)
		}
	}
	code := c.each(files, func(_ string, r io.Reader) error {
		return lines(r, func(l string) bool {
			if n > 0 && l == last {
				n++
				return true
			}
			flush()
			last, n = l, 1
			return true
		})
	})
	flush()
	return code
}

func cut(c *call) int {
	o, files, err := parse("f= d=", c.args)
	if err != nil {
		return c.usage(err.Error())
	}
	sep := "\t"
	if o.has("d") {
		sep = o["d"]
	}
	var fields []int
	for f := range strings.SplitSeq(o["f"], ",") {
		n, err := strconv.Atoi(f)
		if err != nil || n < 1 {
			return c.usage("-f takes field numbers separated by commas")
		}
		fields = append(fields, n)
	}
	return c.each(files, func(_ string, r io.Reader) error {
		return lines(r, func(l string) bool {
			all := strings.Split(l, sep)
			if len(all) == 1 {
				fmt.Fprintln(c.out, l)
				return true
			}
			var keep []string
			for _, n := range fields {
				if n <= len(all) {
					keep = append(keep, all[n-1])
				}
			}
			fmt.Fprintln(c.out, strings.Join(keep, sep))
			return true
		})
	})
}

func tee(c *call) int {
	o, files, err := parse("a", c.args)
	if err != nil {
		return c.usage(err.Error())
	}
	mode := os.O_TRUNC
	if o.has("a") {
		mode = os.O_APPEND
	}
	outs := []io.Writer{c.out}
	for _, name := range files {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|mode, 0o666)
		if err != nil {
			return c.failf("%v", err)
		}
		defer f.Close()
		outs = append(outs, f)
	}
	if _, err := io.Copy(io.MultiWriter(outs...), c.in); err != nil {
		return c.failf("%v", err)
	}
	return 0
}
