// Package i18n has the words of the interface, English and Chinese side by
// side in table.go.
//
// There is one noun: a [Lang], whose T turns a key into a sentence. Tests
// require both languages for each key, the same placeholders in both, and
// each key that the code uses.
package i18n

import (
	"strings"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
)

// Lang is a language of the interface.
type Lang string

const (
	English Lang = "en"
	Chinese Lang = "zh"
)

// Of is the language for a locale such as "zh_CN.UTF-8"; English if unknown.
func Of(locale string) Lang {
	if strings.HasPrefix(strings.ToLower(locale), "zh") {
		return Chinese
	}
	return English
}

// Other is the other language.
func (l Lang) Other() Lang {
	if l == Chinese {
		return English
	}
	return Chinese
}

// T is the text for a key, with each {name} replaced from the pairs of name
// and value. A key that the table lacks is returned as it is.
func (l Lang) T(key string, pairs ...string) string {
	both, ok := table[key]
	if !ok {
		return key
	}
	s := both[0]
	if l == Chinese {
		s = both[1]
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		s = strings.ReplaceAll(s, "{"+pairs[i]+"}", pairs[i+1])
	}
	return s
}

// Has tells whether the table has a key.
func Has(key string) bool { _, ok := table[key]; return ok }

// Verb is the word for a verb; verbs of the runtime and network interfaces
// keep their own names.
func (l Lang) Verb(v step.Verb) string {
	if key := "verb." + string(v); Has(key) {
		return l.T(key)
	}
	return string(v)
}

// Why is the sentence for a link of a chain of causes. name shortens names of
// objects and actors.
func (l Lang) Why(c fold.Cause, object, actor string) string {
	verb := l.Verb(c.Verb)
	if key := "does." + c.Sub; Has(key) {
		verb = l.T(key)
	}
	pairs := []string{"object", object, "actor", actor, "verb", verb}
	for k, v := range c.Args {
		pairs = append(pairs, k, v)
	}
	return l.T(c.Key, pairs...)
}
