package tui

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step/fold"
	"github.com/klab-project/klab/core/step/fold/foldtest"
	"github.com/klab-project/klab/tui/i18n"
	"github.com/klab-project/klab/tui/layout"
	"github.com/klab-project/klab/tui/lesson"
)

// The page of a pod at three sizes, in both languages, with both sets of
// signs: while two containers run, and after one of them has crashed.
func TestPodScreens(t *testing.T) {
	for _, size := range [][2]int{{80, 24}, {120, 37}, {160, 50}} {
		for _, lang := range []i18n.Lang{i18n.English, i18n.Chinese} {
			for _, ascii := range []bool{false, true} {
				signs := "unicode"
				if ascii {
					signs = "ascii"
				}
				name := fmt.Sprintf("%dx%d-%s-%s", size[0], size[1], lang, signs)
				t.Run(name, func(t *testing.T) {
					d := drive(t, size[0], size[1], Config{Source: &story{}, Lang: lang, ASCII: ascii}, foldtest.Pod())
					d.Press("end", "6")
					golden(t, "pod-crashed-"+name, d)
					d.m.turnEye(whileBoth(d))
					d.Press("z", "down")
					golden(t, "pod-both-"+name, d)
				})
			}
		}
	}
}

// whileBoth is a moment at which both containers run and are counted.
func whileBoth(d *driver) uint64 {
	all := foldtest.Pod()
	for i := range all {
		if all[i].Verb == "usage" {
			return all[i].Seq
		}
	}
	return 0
}

func TestEnterOpensAPod(t *testing.T) {
	s := &story{live: true}
	d := drive(t, 120, 37, Config{Source: s, Control: s, Lang: i18n.English}, foldtest.Deployment())
	d.m.focus = layout.Stage
	d.Press("4")
	for range 40 {
		if key, ok := d.m.chosenKey(); ok && key.Resource == "pods" {
			break
		}
		d.Press("down")
	}
	key, _ := d.m.chosenKey()
	d.Expect(layout.Hints, "open pod")
	d.Press("enter")
	d.Expect(layout.Stage, key.Name, "containers")
	d.Press("enter")
	next, _ := d.m.chosenKey()
	require.NotEqual(t, key, next)
	d.Expect(layout.Stage, next.Name)
	d.Press("esc")
	require.Equal(t, objects, d.m.stage, "back to where it was opened")
}

func TestPodCommand(t *testing.T) {
	d := drive(t, 120, 37, Config{Source: &story{}, Lang: i18n.English}, foldtest.Pod())
	d.Press("end", ":", "p", "o", "d", "space", "s", "h", "o", "enter")
	require.Equal(t, podPage, d.m.stage)
	d.Expect(layout.Stage, "shop", "4026532610", "CrashLoopBackOff")
	d.Press("1", ":", "p", "o", "d", "space", "x", "enter")
	d.Expect(layout.Hints, "no pod “x”")
	require.Equal(t, cluster, d.m.stage)
	d.Press(":", "p", "o", "d", "enter")
	require.Equal(t, podPage, d.m.stage)
}

func TestAShellInThePodThatIsShown(t *testing.T) {
	s := &story{live: true}
	d := drive(t, 120, 37, Config{Source: s, Control: s, Lang: i18n.English}, foldtest.Pod())
	d.m.focus = layout.Stage
	d.Press("6", "!")
	require.Equal(t, []fold.Key{{Resource: "pods", Namespace: "default", Name: "shop"}}, s.shells)
	d.Press("1")
	d.Press("!")
	require.Equal(t, commanding, d.m.over, "with nothing selected it is the command line")
	d.Press("esc")
	d.send(shellMsg{errGone})
	d.Expect(layout.Hints, "The shell ended")
}

// A page says nothing that a mask hides, at any moment and any size.
func TestAPodsPageDoesNotLeak(t *testing.T) {
	secrets := map[string][]string{
		"actor/kubelet":                       {"402653", "4711", "httpd", "c/c1", "memory.limit", "liveness", "node-1", "10.244.1.2", "start container"},
		"field/pods/spec.nodeName":            {"402653", "4711", "c/c1", "liveness", "node-1", "10.244.1.2", "start container"},
		"field/pods/status.phase":             {"Running", "running", "CrashLoopBackOff", "OOMKilled", "restarts", "ContainersReady", "402653", "4711", "failure", "start container"},
		"field/pods/status.conditions[Ready]": {"ContainersNotReady", "CrashLoopBackOff", "failure"},
		"field/pods/status.containerStatuses": {"CrashLoopBackOff", "OOMKilled", "4711", "start container"},
		"field/pods/status":                   {"Running", "CrashLoopBackOff", "OOMKilled", "Burstable", "burstable", "10.244.1.2", "4711"},
		"field/pods/status.qosClass":          {"Burstable", "burstable"},
		"field/pods/spec.containers":          {"402653", "c/c1", "memory.limit", "httpd"},
		"verb/pod-seen":                       {"402653", "c/c1", "memory.limit"},
		"verb/usage":                          {"oom 1", "98m", "62Mi"},
		"verb/probe":                          {"liveness", "statuscode"},
		"verb/sync":                           {"start container"},
		"verb/exited":                         {"402653", "4711"},
	}
	for hide, words := range secrets {
		for _, size := range [][2]int{{80, 24}, {160, 50}} {
			l := &hiding{hide: []string{hide}}
			d := drive(t, size[0], size[1], Config{Source: &story{}, Lesson: l, Lang: i18n.English}, foldtest.Pod())
			d.m.focus, d.m.max = layout.Stage, true
			d.m.turn(podPage)
			for _, at := range []uint64{whileBoth(d), d.m.history.Last()} {
				d.m.turnEye(at)
				for range 8 {
					screen := d.Pane(layout.Stage)
					for _, w := range words {
						require.NotContains(t, screen, w, "%s hides it\n%s", hide, screen)
					}
					d.Press("pgdown")
				}
				d.m.skip[layout.Stage] = 0
			}
		}
	}
	// and all of it is there where nothing is hidden
	d := drive(t, 160, 200, Config{Source: &story{}, Lang: i18n.English}, foldtest.Pod())
	d.m.turn(podPage)
	all := ""
	for _, at := range []uint64{whileBoth(d), d.m.history.Last()} {
		d.m.turnEye(at)
		all += d.Pane(layout.Stage)
	}
	for hide, words := range secrets {
		for _, w := range words {
			require.True(t, strings.Contains(all, w), "%s: %q is nowhere\n%s", hide, w, all)
		}
	}
}

// hiding is a lesson that hides something.
type hiding struct {
	script
	hide []string
}

func (l *hiding) View(lang string) (v lesson.View) {
	v = l.script.View(lang)
	v.Hide = l.hide
	return v
}

func TestAPodsPageAllocatesLittle(t *testing.T) {
	s := &story{live: true}
	d := drive(t, 160, 50, Config{Source: s, Control: s, Lesson: &hiding{}, Lang: i18n.English}, foldtest.Pod())
	d.Press("end")
	d.m.turn(podPage)
	n := testing.AllocsPerRun(10, func() {
		clear(d.m.cached)
		d.m.frame = ""
		d.m.View()
	})
	require.Less(t, n, 2000.0)
	t.Log(n, "allocations without any cache")
}

// Calls of a pod's network at three sizes, in both languages, with both sets
// of signs: folded, and with all that was said.
func TestCNICallScreens(t *testing.T) {
	for _, size := range [][2]int{{80, 24}, {120, 37}, {160, 50}} {
		for _, lang := range []i18n.Lang{i18n.English, i18n.Chinese} {
			for _, ascii := range []bool{false, true} {
				signs := "unicode"
				if ascii {
					signs = "ascii"
				}
				name := fmt.Sprintf("%dx%d-%s-%s", size[0], size[1], lang, signs)
				t.Run(name, func(t *testing.T) {
					d := drive(t, size[0], size[1], Config{Source: &story{}, Lang: lang, ASCII: ascii}, foldtest.Calls())
					d.Press("end", "6", "z")
					golden(t, "pod-calls-"+name, d)
					d.Press("o")
					golden(t, "pod-said-"+name, d)
				})
			}
		}
	}
}

// A wrong call is marked and says its code; what was said shows unfolded only,
// and not at all while a prediction hides the address.
func TestCNICalls(t *testing.T) {
	d := drive(t, 160, 200, Config{Source: &story{}, Lang: i18n.English}, foldtest.Calls())
	d.Press("end", "6", "z")
	d.Expect(layout.Stage, "✗ portmap", "failed with code 11", "hostPort 8080/tcp is taken by pod default/other", "● host-local", "10.244.1.2/24")
	d.ExpectNot(layout.Stage, "CNI_COMMAND")
	d.Press("o")
	d.Expect(layout.Stage, "CNI_COMMAND=ADD", "CNI_COMMAND=DEL", `"subnet": "10.244.1.0/24"`, "read on standard input", "prevResult")
	d.Press("o")
	d.ExpectNot(layout.Stage, "CNI_COMMAND")

	for _, hide := range []string{"field/pods/status.podIP", "verb/ADD", "actor/kubelet"} {
		d := drive(t, 160, 200, Config{Source: &story{}, Lesson: &hiding{hide: []string{hide}}, Lang: i18n.English}, foldtest.Calls())
		d.m.turnEye(d.m.history.Last())
		d.m.focus = layout.Stage
		d.Press("6", "o")
		d.ExpectNot(layout.Stage, "10.244.1.2", "CNI_COMMAND", "code 11")
	}
}
