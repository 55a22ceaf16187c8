package tui

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"
	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step/fold/foldtest"
	"github.com/klab-project/klab/tui/i18n"
)

var update = flag.Bool("update", false, "write the golden screens")

// golden compares the screen with testdata/NAME.txt.
func golden(t *testing.T, name string, d *driver) {
	t.Helper()
	check(t, d, d.m.w, d.m.h)
	got := ansi.Strip(d.m.View().Content) + "\n"
	file := filepath.Join("testdata", name+".txt")
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
		return
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err, "write it with: go test ./tui -update")
	require.Equal(t, strings.Split(string(want), "\n"), strings.Split(got, "\n"))
}

// The screens at three sizes, in both languages, with both sets of signs:
// while a prediction is open, and at the end of a recording.
func TestScreens(t *testing.T) {
	for _, size := range [][2]int{{80, 24}, {120, 37}, {160, 50}} {
		for _, lang := range []i18n.Lang{i18n.English, i18n.Chinese} {
			for _, ascii := range []bool{false, true} {
				signs := "unicode"
				if ascii {
					signs = "ascii"
				}
				name := fmt.Sprintf("%dx%d-%s-%s", size[0], size[1], lang, signs)
				t.Run(name, func(t *testing.T) {
					s := &story{live: true}
					d := drive(t, size[0], size[1], Config{Source: s, Control: s, Lesson: &script{}, Lang: lang, ASCII: ascii}, held())
					golden(t, "predict-"+name, d)
					if size[0] == 80 { // there the lesson is a strip while one looks at the stage
						d.Press("tab")
						golden(t, "asked-"+name, d)
						d.Press("shift+tab")
					}
					d.Press("b", "2", "enter")
					golden(t, "pending-"+name, d)
					d = drive(t, size[0], size[1], Config{Source: &story{}, Lang: lang, ASCII: ascii}, foldtest.Deployment())
					d.Press("end")
					golden(t, "replay-"+name, d)
				})
			}
		}
	}
}

// The other views, once each.
func TestViewScreens(t *testing.T) {
	d, _ := paused(t, 120, 37, nil)
	for _, v := range []string{"reconcile", "network", "objects", "events"} {
		d.Press("v")
		golden(t, "view-"+v, d)
	}
	d.Press("?")
	golden(t, "help", d)
	d.Press("?", ":")
	golden(t, "palette", d)
}

// A sign of ASCII is drawn for every sign of the interface.
func TestASCIIIsASCII(t *testing.T) {
	d := drive(t, 120, 37, Config{Source: &story{}, Lang: i18n.English, ASCII: true}, foldtest.Deployment())
	for range 6 {
		for i, l := range d.m.draw().Lines() {
			for _, r := range strings.ReplaceAll(l, "中文", "") {
				require.Less(t, r, rune(0x80), "line %d: %q", i, l)
			}
		}
		d.Press("]", "v")
	}
	d.Press("?")
	for i, l := range d.m.draw().Lines() {
		l = strings.ReplaceAll(l, "中文", "")
		for _, r := range l {
			require.Less(t, r, rune(0x80), "line %d: %q", i, l)
		}
	}
}
