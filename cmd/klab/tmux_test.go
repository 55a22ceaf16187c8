package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold/foldtest"
	"github.com/klab-project/klab/core/step/recording"
)

// A terminal is one made by tmux, with a program in it.
type terminal struct {
	t      testing.TB
	socket string
}

// newTerminal runs a shell line in a terminal of w×h cells.
func newTerminal(t testing.TB, w, h int, line string) *terminal {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Skip("needs tmux: it is the terminal that the interface is tested in")
	}
	term := &terminal{t, filepath.Join(t.TempDir(), "tmux")}
	term.run("-f", "/dev/null", "new-session", "-d", "-x", strconv.Itoa(w), "-y", strconv.Itoa(h), line)
	t.Cleanup(func() { _ = exec.Command("tmux", "-S", term.socket, "kill-server").Run() })
	return term
}

func (term *terminal) run(args ...string) string {
	term.t.Helper()
	cmd := exec.Command("tmux", append([]string{"-S", term.socket}, args...)...)
	cmd.Env = append(os.Environ(), "LANG=C.UTF-8", "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	require.NoError(term.t, err, "tmux %v: %s", args, out)
	return string(out)
}

// Press presses keys, as tmux names them.
func (term *terminal) Press(keys ...string) { term.run(append([]string{"send-keys"}, keys...)...) }

// Screen is what the terminal shows.
func (term *terminal) Screen() string { return term.run("capture-pane", "-p") }

// Expect waits until all of want are shown, and nothing of the texts that
// begin with "!".
func (term *terminal) Expect(want ...string) {
	term.t.Helper()
	screen := ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		screen = term.Screen()
		if shows(screen, want) {
			return
		}
	}
	require.Fail(term.t, "not shown", "%q\n%s", want, screen)
}

func shows(screen string, want []string) bool {
	for _, w := range want {
		if w[0] == '!' == strings.Contains(screen, strings.TrimPrefix(w, "!")) {
			return false
		}
	}
	return true
}

// record writes a recording of a Deployment of three into dir.
func record(t testing.TB, dir string) string {
	t.Helper()
	return recordOf(t, filepath.Join(dir, "web.klab"), foldtest.Deployment())
}

// recordOf writes a recording of events.
func recordOf(t testing.TB, path string, events []*step.Event) string {
	t.Helper()
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	_, err = recording.Write(f, step.Header{Format: 1, Version: "test"}, func(yield func(*step.Event, error) bool) {
		for _, e := range events {
			if !yield(e, nil) {
				return
			}
		}
	})
	require.NoError(t, err)
	return path
}

// words are what the screens say in a language.
type words struct{ lang, replay, first, last, help string }

var (
	english = words{"en", "REPLAY", "event 1/456", "event 456/456", "let the top one happen"}
	chinese = words{"zh", "回放", "事件 1/456", "事件 456/456", "放行最上面的"}
)

func TestReplayInATerminal(t *testing.T) {
	klab := filepath.Join(bin(t), "klab")
	file := record(t, t.TempDir())
	for _, size := range [][2]int{{80, 24}, {160, 50}} {
		for _, w := range []words{english, chinese} {
			t.Run(fmt.Sprintf("%dx%d-%s", size[0], size[1], w.lang), func(t *testing.T) {
				walk(t, size[0], size[1], w, klab+" tui --replay "+file+" --lang "+w.lang)
			})
		}
	}
}

// Anybody can play a recording.
func TestReplayAsNobody(t *testing.T) {
	needRoot(t)
	if _, err := exec.LookPath("setpriv"); err != nil {
		t.Skip("needs setpriv to become an ordinary user")
	}
	dir := t.TempDir()
	program, err := os.ReadFile(filepath.Join(bin(t), "klab"))
	require.NoError(t, err)
	klab := filepath.Join(dir, "klab")
	require.NoError(t, os.WriteFile(klab, program, 0o755))
	for d := dir; d != os.TempDir() && len(d) > 1; d = filepath.Dir(d) {
		require.NoError(t, os.Chmod(d, 0o755))
	}
	walk(t, 80, 24, english, "env HOME=/nonexistent setpriv --reuid=65534 --regid=65534 --clear-groups "+klab+" tui --lang en --replay "+record(t, dir))
}

// walk plays a recording with the keys b, g, G, L, ? and q, and requires that
// the terminal is afterwards as it was.
func walk(t *testing.T, w, h int, say words, line string) {
	other := chinese
	if say == chinese {
		other = english
	}
	term := newTerminal(t, w, h, "sh")
	term.Press("-l", `echo before=$(stty -g); `+line+`; echo "exit=$?"; echo after=$(stty -g)`)
	term.Press("Enter")
	term.Expect(say.replay, say.first)
	term.Press("G")
	term.Expect(say.last, "10.244.1.2", "10.244.2.3", "10.244.3.2")
	require.Equal(t, "1", strings.TrimSpace(term.run("display-message", "-p", "#{alternate_on}")))
	term.Press("b")
	term.Expect("!" + say.last)
	term.Press("g")
	term.Expect(say.first)
	term.Press("L")
	term.Expect(other.replay, other.first)
	term.Press("L")
	term.Expect(say.replay, say.first)
	term.Press("?")
	term.Expect(say.help)
	term.Press("?")
	term.Expect("!" + say.help)
	term.Press("q")
	term.Expect("exit=0", "after=", "!"+say.replay)
	require.Equal(t, "0 1 0", strings.TrimSpace(term.run("display-message", "-p", "#{alternate_on} #{cursor_flag} #{mouse_any_flag}")),
		"the screen, the cursor and the mouse are the shell's again")
	var before, after string
	require.Eventually(t, func() bool {
		screen := term.run("capture-pane", "-p", "-J")
		before, after = settings(screen, "before"), settings(screen, "after")
		return before != "" && after != ""
	}, time.Minute, 10*time.Millisecond)
	require.Equal(t, before, after, "the settings of the terminal")
}

// settings finds what stty printed behind a name. It is not always at the
// beginning of a line: a shell that starts late prints its prompt before it.
func settings(screen, name string) string {
	found := regexp.MustCompile(name + `=([0-9a-f]+(?::[0-9a-f]+)+)`).FindStringSubmatch(screen)
	if found == nil {
		return ""
	}
	return found[1]
}

// A recorded packet is walked through, hop by hop, forward and back, by anybody.
func TestAPacketsWayInATerminal(t *testing.T) {
	file := recordOf(t, filepath.Join(t.TempDir(), "packets.klab"), foldtest.RecordedPackets(t))
	term := newTerminal(t, 120, 37, filepath.Join(bin(t), "klab")+" tui --lang en --replay "+file)
	term.Expect("REPLAY")
	term.Press("End")
	term.Expect("Packet")
	term.Press("3")
	term.Expect("outside → no/node-1:30080", "answered", "hops of the reply")
	term.Press("Up", "Up")
	term.Expect("on its way", "hops of the reply")
	term.Press("n")
	term.Expect("hops of the request", "KUBE-MARK-MASQ")
	term.Press("Enter")
	term.Expect("po/client → svc/near:80")
	term.Press("Enter")
	term.Expect("lost: a link is down", "n-2: state DOWN")
	term.Press("3")
	term.Expect("10.244.2.0/24", "!hops of the")
	term.Press("q")
}
