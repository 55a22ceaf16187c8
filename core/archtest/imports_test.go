package archtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/klab-project/klab/"

// layers is the import rule, from the top to the bottom: a package imports
// only from layers below its own, and from its own component. A component is
// the longest of these names that is the package's path or lies above it.
var layers = [][]string{
	{"cmd", "core/archtest"},
	{"tui"},
	{"lessons"},
	{"labs"},
	{"tui/lesson", "tui/text"}, // what lessons and the interface share
	{"core/cluster", "core/sim"},
	{"core/apiserver", "core/controller", "core/scheduler", "core/kubelet"},
	{"core/api", "core/store", "core/runtime", "core/registry", "core/controller/quota", "core/controller/record", "netlab"},
	{"core/step"},
}

// never lists what a component must not import even from below, with the
// reason.
var never = []struct{ from, to, why string }{
	{"core/controller", "core/store", "controllers talk to the API like anybody else"},
	{"core/scheduler", "core/store", "the scheduler talks to the API like anybody else"},
	{"core/kubelet", "core/store", "a kubelet talks to the API like anybody else"},
	{"core/controller", "core/api", "controllers know client-go only"},
	{"core/scheduler", "core/api", "the scheduler knows client-go only"},
	{"tui", "core/cluster", "a recording is looked at without root and without a cluster"},
	{"tui", "netlab", "looking needs no root"},
	{"lessons", "core/cluster", "lessons use only a kubeconfig and the step stream"},
	{"lessons", "netlab", "lessons use only a kubeconfig and the step stream"},
}

// bans lists what must not be linked into a package, with the reason.
var bans = []struct {
	root string
	cgo  bool
	ban  []string
	why  string
}{
	{"./cmd/klab-rt", true, []string{"k8s.io/", "go.etcd.io/"}, "every start of a container executes klab-rt once more: it must stay small"},
	{"./cmd/klab-tools", false, []string{"k8s.io/", "go.etcd.io/", "github.com/google/"}, "its size is the size of the built-in image"},
	{"./tui/...", false, []string{"k8s.io/client-go", "go.etcd.io/", "github.com/opencontainers/", "github.com/vishvananda/"}, "the interface draws recordings on any machine, without root"},
	{"./netlab/...", false, []string{"k8s.io/", "go.etcd.io/"}, "netlab is a library of its own"},
}

// goList runs `go list` at the repository's root.
func goList(t *testing.T, cgo bool, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Dir = root(t)
	value := "0"
	if cgo {
		value = "1"
	}
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+value)
	out, err := cmd.Output()
	var detail []byte
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		detail = exit.Stderr
	}
	require.NoError(t, err, "%s", detail)
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

// component returns the name in layers that pkg belongs to, and its layer.
func component(pkg string) (name string, layer int) {
	for i, names := range layers {
		for _, n := range names {
			if (pkg == n || strings.HasPrefix(pkg, n+"/")) && len(n) > len(name) {
				name, layer = n, i
			}
		}
	}
	return name, layer
}

func TestImportsPointDown(t *testing.T) {
	var wrong []string
	for _, line := range goList(t, false, "-e", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...") {
		pkg, imports, _ := strings.Cut(line, " ")
		pkg = strings.TrimPrefix(pkg, module)
		from, layer := component(pkg)
		if from == "" {
			wrong = append(wrong, fmt.Sprintf("%s is in no layer: top-level folders are fixed; give a new package of core its place in layers", pkg))
			continue
		}
		for _, imported := range strings.Fields(imports) {
			target, ours := strings.CutPrefix(imported, module)
			if !ours {
				continue
			}
			to, below := component(target)
			if to != from && below <= layer {
				wrong = append(wrong, fmt.Sprintf("%s imports %s: imports point down only (%s is not below %s)", pkg, target, to, from))
			}
			for _, n := range never {
				if n.from == from && n.to == to {
					wrong = append(wrong, fmt.Sprintf("%s imports %s: %s", pkg, target, n.why))
				}
			}
		}
	}
	require.Empty(t, wrong, strings.Join(wrong, "\n"))
}

func TestNetlabKnowsOnlyStep(t *testing.T) {
	for _, dep := range goList(t, false, "-e", "-deps", "./netlab/...") {
		if target, ours := strings.CutPrefix(dep, module); ours && strings.HasPrefix(target, "core/") {
			name, _ := component(target)
			require.Equal(t, "core/step", name, "netlab is useful without core: %s", target)
		}
	}
}

func TestStepImportsOnlyTheStandardLibrary(t *testing.T) {
	for _, line := range goList(t, false, "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./core/step", "./core/step/fold") {
		pkg, imports, _ := strings.Cut(line, " ")
		for _, imported := range strings.Fields(imports) {
			first, _, _ := strings.Cut(imported, "/")
			require.True(t, !strings.Contains(first, ".") || strings.HasPrefix(imported, module+"core/step"),
				"%s imports %s: it lies under everything", pkg, imported)
		}
	}
}

func TestBannedDependencies(t *testing.T) {
	for _, b := range bans {
		t.Run(b.root, func(t *testing.T) {
			var found []string
			for _, dep := range goList(t, b.cgo, "-e", "-deps", b.root) {
				if slices.ContainsFunc(b.ban, func(p string) bool { return strings.HasPrefix(dep, p) }) {
					found = append(found, dep)
				}
			}
			require.Empty(t, found, b.why)
		})
	}
}

// maxModules bounds the modules that go.mod asks for by name: each is code that
// somebody else may change. A new one needs a reason in its commit.
const maxModules = 56

func TestFewModules(t *testing.T) {
	data, err := os.ReadFile(root(t) + "/go.mod")
	require.NoError(t, err)
	n := 0
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "\t") && strings.Contains(line, " v") && !strings.Contains(line, "// indirect") {
			n++
		}
	}
	require.LessOrEqual(t, n, maxModules)
}
