// Package english keeps kubectl from loading its translations, which costs
// 13 ms of every start of every program that contains it.
//
// It has no nouns: it is imported for what its initialization does, and that
// must come before the initialization of kubectl's own packages. Packages that
// are ready are initialized in the order of their import paths; this one needs
// only kubectl's i18n, and its path sorts before k8s.io.
package english

import "k8s.io/kubectl/pkg/util/i18n"

var _ = i18n.SetLoadTranslationsFunc(func() error { return nil })
