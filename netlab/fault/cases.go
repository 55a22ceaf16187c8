package fault

// cases are cards that do not say what they break: it is for the learner to
// find out. They are played on the objects of one lesson, and not listed.
func cases() []Card {
	return []Card{
		hidden("case-1", "1", Ask{Card: "dns-down"}),
		hidden("case-2", "2", Ask{Card: "wrong-selector", Target: "default/web"}),
		hidden("case-3", "3", Ask{Card: "stop-proxy", Target: "node-1"}),
		hidden("case-4", "4", Ask{Card: "no-hairpin", Target: "default/shop-*"}),
	}
}

// hidden is the card of an Ask under a name that does not say what it is.
func hidden(name, number string, real Ask) Card {
	return Card{
		Name: name, On: OnCluster, Hidden: true,
		Title: Text{"Case " + number, "案例 " + number},
		Does:  Text{"Something of the lab is broken now. What, is for you to find out.", "实验室里有一处坏了。坏在哪里，要由你来找。"},
		Sees:  Text{"What the lesson's ticket says.", "课程工单里写的现象。"},
		Heals: Text{"Nobody repairs it but you.", "除了你，没有谁会修复它。"},
		plan: func(l Lab, _ ask) ([]Change, error) {
			c, err := Find(real.Card)
			if err != nil {
				return nil, err
			}
			a, err := c.resolve(l, real)
			if err != nil {
				return nil, err
			}
			return c.plan(l, a)
		},
	}
}
