package main

import (
	"github.com/klab-project/klab/netlab/fault"
	"github.com/klab-project/klab/tui/view"
)

// cards are those of "klab break", for the interface.
func cards() []view.Card {
	words := func(t fault.Text) view.Words { return view.Words(t) }
	var list []view.Card
	for _, c := range fault.Cards() {
		v := view.Card{Name: c.Name, On: string(c.On), Title: words(c.Title), Does: words(c.Does), Sees: words(c.Sees), Heals: words(c.Heals)}
		for _, a := range c.Args {
			v.Args = append(v.Args, view.CardArg{Name: a.Name, Default: a.Default, Says: words(a.Says)})
		}
		list = append(list, v)
	}
	return list
}
