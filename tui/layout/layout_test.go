package layout_test

import (
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/klab-project/klab/tui/canvas"
	"github.com/klab-project/klab/tui/layout"
)

func TestPanesFillTheScreenAndNeverOverlap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := layout.Ask{
			W: rapid.IntRange(0, 260).Draw(t, "w"), H: rapid.IntRange(0, 90).Draw(t, "h"),
			Lesson: rapid.Bool().Draw(t, "lesson"), Prompt: rapid.IntRange(0, 40).Draw(t, "prompt"), Max: rapid.Bool().Draw(t, "max"), Waits: rapid.Bool().Draw(t, "waits"),
			Focus: rapid.SampledFrom([]layout.Pane{layout.Stage, layout.Lesson, layout.Pending, layout.Inspect, layout.Timeline, layout.Ran}).Draw(t, "focus"),
		}
		seen := make([]int, a.W*a.H)
		for p, r := range layout.Of(a) {
			if r.X < 0 || r.Y < 0 || r.X+r.W > a.W || r.Y+r.H > a.H {
				t.Fatalf("%s leaves the screen: %v", p, r)
			}
			for y := r.Y; y < r.Y+r.H; y++ {
				for x := r.X; x < r.X+r.W; x++ {
					seen[y*a.W+x]++
				}
			}
		}
		for i, n := range seen {
			if n != 1 {
				t.Fatalf("cell %d,%d belongs to %d panes", i%a.W, i/a.W, n)
			}
		}
	})
}

// picture draws each pane's letter once for every 8×4 cells.
func picture(m map[layout.Pane]canvas.Rect, w, h int) string {
	var names []string
	for p := range m {
		names = append(names, string(p))
	}
	sort.Strings(names)
	var b strings.Builder
	for y := 1; y < h; y += 4 {
		b.WriteString("\n")
		for x := 2; x < w; x += 8 {
			for _, p := range names {
				if m[layout.Pane(p)].Has(x, y) {
					b.WriteByte(p[0])
				}
			}
		}
	}
	return b.String()
}

func TestLargeShowsEverything(t *testing.T) {
	m := layout.Of(layout.Ask{W: 160, H: 50, Lesson: true, Focus: layout.Stage})
	require.Equal(t, `
lllllssssssssspppppp
lllllssssssssspppppp
lllllssssssssspppppp
lllllssssssssspppppp
lllllsssssssssiiiiii
lllllsssssssssiiiiii
lllllsssssssssiiiiii
lllllsssssssssiiiiii
lllllsssssssssiiiiii
tttttttttttttttttttt
tttttttttttttttttttt
rrrrrrrrrrrrrrrrrrrr
hhhhhhhhhhhhhhhhhhhh`, picture(m, 160, 50))
}

func TestSmallHasOneStage(t *testing.T) {
	m := layout.Of(layout.Ask{W: 80, H: 24, Lesson: true, Prompt: 6, Focus: layout.Lesson})
	require.Equal(t, canvas.Rect{X: 0, Y: 1, W: 80, H: 12}, m[layout.Stage])
	require.Equal(t, canvas.Rect{X: 0, Y: 13, W: 80, H: 8}, m[layout.Lesson])
	require.Equal(t, 1, m[layout.Timeline].H)
	require.NotContains(t, m, layout.Pending)
	for focus, waits := range map[layout.Pane]bool{layout.Pending: false, layout.Stage: true} {
		m = layout.Of(layout.Ask{W: 80, H: 24, Lesson: true, Prompt: 6, Focus: focus, Waits: waits})
		require.Contains(t, m, layout.Pending)
		require.NotContains(t, m, layout.Lesson)
	}
	m = layout.Of(layout.Ask{W: 80, H: 24, Lesson: true, Prompt: 20, Focus: layout.Stage})
	require.Equal(t, canvas.Rect{X: 0, Y: 13, W: 80, H: 8}, m[layout.Lesson], "what the lesson asks stays in view")
	require.NotContains(t, m, layout.Pending)
}
