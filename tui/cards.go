package tui

import (
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/klab-project/klab/core/step/fold"
	"github.com/klab-project/klab/tui/canvas"
	"github.com/klab-project/klab/tui/keys"
	"github.com/klab-project/klab/tui/pane"
	"github.com/klab-project/klab/tui/view"
)

// deck is where the learner is on the page of cards.
type deck struct {
	at     int  // the selected row
	asks   bool // for the target of the card there
	target int
}

// openCards opens the page of cards.
func (m *Model) openCards() { m.over, m.deck = choosingCard, deck{} }

// plays tells whether there is a lab that can be broken.
func (m *Model) plays() bool { return m.live && m.control != nil }

// brokenIn is the state whose faults the page lists: what is broken now, or
// what was where the eye is in a recording.
func (m *Model) brokenIn() *fold.State {
	if m.live {
		return m.history.Now()
	}
	return m.state()
}

func (m *Model) cardPage() pane.CardPage {
	v := pane.CardPage{Cards: view.NewCards(m.brokenIn(), m.mask, m.cards), Asks: m.deck.asks, Plays: m.plays()}
	m.deck.at = max(0, min(m.deck.at, len(v.Rows)-1))
	v.Selected = m.deck.at
	if v.Asks {
		v.Targets = view.Targets(m.brokenIn(), m.mask, v.Rows[v.Selected].Card)
		m.deck.target = max(0, min(m.deck.target, len(v.Targets)-1))
		v.Target = m.deck.target
	}
	return v
}

// body is what lies between the header and the hints.
func (m *Model) body() canvas.Rect { return canvas.Rect{X: 0, Y: 1, W: m.w, H: m.h - 2} }

// choose handles a key while the page of cards is shown.
func (m *Model) chooseCard(msg tea.KeyPressMsg) tea.Cmd {
	v := m.cardPage()
	at, all, page := &m.deck.at, len(v.Rows), pane.CardRows(m.body())
	if v.Asks {
		at, all, page = &m.deck.target, len(v.Targets), max(1, page-1)
	}
	if name := msg.String(); len(name) == 1 && name[0] >= '1' && name[0] <= '9' {
		if i := *at/page*page + int(name[0]-'1'); i < all && i/page == *at/page {
			*at = i
			return m.playCard()
		}
		return nil
	}
	a, _ := keys.Find(m.keys, msg)
	switch a {
	case keys.Enter:
		return m.playCard()
	case keys.Up:
		*at--
	case keys.Down:
		*at++
	case keys.PageUp:
		*at -= page
	case keys.PageDown:
		*at += page
	case keys.First:
		*at = 0
	case keys.Last:
		*at = all - 1
	case keys.Language, keys.Help:
		return m.do(a)
	case keys.Close, keys.Quit, keys.Break, keys.Back:
		if v.Asks {
			m.deck.asks = false
			return nil
		}
		m.over = none
	}
	*at = max(0, min(*at, all-1))
	return nil
}

// playCard does what the selected row stands for: it mends, asks for a target,
// or breaks.
func (m *Model) playCard() tea.Cmd {
	v := m.cardPage()
	switch {
	case len(v.Rows) == 0:
		return nil
	case !v.Plays:
		m.complain("card.replay")
		return nil
	}
	row := v.Rows[v.Selected]
	line := row.Line()
	if row.Fault == nil && row.All == 0 && row.Card.Aims() {
		if !v.Asks {
			m.deck.asks, m.deck.target = true, 0
			if len(m.cardPage().Targets) == 0 {
				m.deck.asks = false
				m.complain("card.notarget", "kind", row.Card.On)
			}
			return nil
		}
		line += " " + v.Targets[v.Target].Name
	}
	m.deck.asks = false
	if told := row.Card.Told(); told != "" && row.Fault == nil && row.All == 0 { // it may be changed before it is run
		m.over, m.chosen = commanding, 0
		m.line.open(commanding, line+" "+told)
		return nil
	}
	m.deck.at = 0
	m.say("say.sending", "line", line)
	return m.runCard(line)
}

// brokeMsg is what the playing of a card, or mending, printed.
type brokeMsg ranMsg

// runCard breaks or mends; the page shows what came of it.
func (m *Model) runCard(line string) tea.Cmd {
	cmd := m.run(line + " --lang " + string(m.lang))
	if cmd == nil {
		return nil
	}
	return func() tea.Msg { return brokeMsg(cmd().(ranMsg)) }
}

// broke says what came of a card, in a line.
func (m *Model) broke(msg brokeMsg) {
	out := strings.Join(strings.Split(strings.TrimSpace(msg.out), "\n"), " ")
	if out == "" && msg.err != nil {
		out = msg.err.Error()
	}
	m.said, m.wrong = strings.TrimPrefix(out, "Error: "), msg.err != nil
}

// wheelCards moves the selection by n rows.
func (m *Model) wheelCards(n int) {
	if m.deck.asks {
		m.deck.target += n
	} else {
		m.deck.at += n
	}
	m.cardPage() // keeps it within the list
}
