package main

import (
	"fmt"
	"strings"
)

// options are the parsed switches of a call. A switch is one letter, or a word
// after one or two hyphens; see parse.
type options map[string]string

func (o options) has(name string) bool { _, ok := o[name]; return ok }

// parse splits args into options and operands in the way of getopt(3). The
// specification lists the switches, separated by spaces; one that ends in "="
// takes a value. Letters may be joined ("-la", "-n5"); options end at "--" or
// at the first operand.
func parse(spec string, args []string) (options, []string, error) {
	takes := make(map[string]bool)
	for s := range strings.FieldsSeq(spec) {
		takes[strings.TrimSuffix(s, "=")] = strings.HasSuffix(s, "=")
	}
	o := make(options)
	for len(args) > 0 {
		a := args[0]
		if a == "--" {
			return o, args[1:], nil
		}
		if len(a) < 2 || a[0] != '-' {
			break
		}
		args = args[1:]
		word, value, joined := strings.Cut(strings.TrimLeft(a, "-"), "=")
		needs, known := takes[word]
		switch {
		case known && needs && !joined:
			if len(args) == 0 {
				return nil, nil, fmt.Errorf("option %s needs a value", a)
			}
			value, args = args[0], args[1:]
			o[word] = value
		case known:
			o[word] = value
		default:
			rest, err := letters(o, takes, a[1:], args)
			if err != nil {
				return nil, nil, err
			}
			args = rest
		}
	}
	return o, args, nil
}

// letters takes joined one-letter switches; it returns the arguments left.
func letters(o options, takes map[string]bool, word string, args []string) ([]string, error) {
	for i := range len(word) {
		l := word[i : i+1]
		needs, known := takes[l]
		if !known {
			return nil, fmt.Errorf("unknown option -%s", word)
		}
		if !needs {
			o[l] = ""
			continue
		}
		if value := word[i+1:]; value != "" {
			o[l] = value
			return args, nil
		}
		if len(args) == 0 {
			return nil, fmt.Errorf("option -%s needs a value", l)
		}
		o[l] = args[0]
		return args[1:], nil
	}
	return args, nil
}
