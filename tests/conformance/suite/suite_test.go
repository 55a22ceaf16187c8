// Package suite is Kubernetes' own end-to-end suite as one program: the
// official tests, imported as they are, behind the flags that they register.
package suite

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	conformancetestdata "k8s.io/kubernetes/test/conformance/testdata"
	"k8s.io/kubernetes/test/e2e"
	"k8s.io/kubernetes/test/e2e/framework"
	"k8s.io/kubernetes/test/e2e/framework/config"
	"k8s.io/kubernetes/test/e2e/framework/testfiles"
	e2etestingmanifests "k8s.io/kubernetes/test/e2e/testing-manifests"
	testfixtures "k8s.io/kubernetes/test/fixtures"

	// The tests, by SIG.
	_ "k8s.io/kubernetes/test/e2e/apimachinery"
	_ "k8s.io/kubernetes/test/e2e/apps"
	_ "k8s.io/kubernetes/test/e2e/architecture"
	_ "k8s.io/kubernetes/test/e2e/auth"
	_ "k8s.io/kubernetes/test/e2e/common"
	_ "k8s.io/kubernetes/test/e2e/dra"
	_ "k8s.io/kubernetes/test/e2e/instrumentation"
	_ "k8s.io/kubernetes/test/e2e/kubectl"
	_ "k8s.io/kubernetes/test/e2e/network"
	_ "k8s.io/kubernetes/test/e2e/node"
	_ "k8s.io/kubernetes/test/e2e/scheduling"
	_ "k8s.io/kubernetes/test/e2e/storage"

	// What the framework prints on failures and asks of the nodes.
	_ "k8s.io/kubernetes/test/e2e/framework/debug/init"
	_ "k8s.io/kubernetes/test/e2e/framework/metrics/init"
	_ "k8s.io/kubernetes/test/e2e/framework/node/init"
	_ "k8s.io/kubernetes/test/utils/format"
)

// TestMain reads the framework's flags and says where its files are: in the
// program itself.
func TestMain(m *testing.M) {
	events := flag.Int("events-fd", 0, "an open file that gets a line of JSON when a test begins and when it ends")
	config.CopyFlags(config.Flags, flag.CommandLine)
	framework.RegisterCommonFlags(flag.CommandLine)
	framework.RegisterClusterFlags(flag.CommandLine)
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "e2e.test: unknown arguments: %v\n", flag.Args())
		os.Exit(2)
	}
	testfiles.AddFileSource(e2etestingmanifests.GetE2ETestingManifestsFS())
	testfiles.AddFileSource(testfixtures.GetTestFixturesFS())
	testfiles.AddFileSource(conformancetestdata.GetConformanceTestdataFS())
	framework.AfterReadingAllFlags(&framework.TestContext)
	if *events > 0 {
		tell(json.NewEncoder(os.NewFile(uintptr(*events), "events")))
	}
	os.Exit(m.Run())
}

// TestE2E runs the tests that -ginkgo.focus and its kin choose.
func TestE2E(t *testing.T) {
	e2e.RunE2ETests(t)
}

// tell makes the suite write an event (package run reads them) for every test
// that it begins and ends.
func tell(to *json.Encoder) {
	write := func(event map[string]any) {
		if err := to.Encode(event); err != nil {
			fmt.Fprintf(os.Stderr, "e2e.test: an event could not be written: %v\n", err)
		}
	}
	ginkgo.ReportBeforeEach(func(r ginkgo.SpecReport) {
		if r.State != types.SpecStateSkipped {
			write(map[string]any{"name": r.FullText()})
		}
	})
	ginkgo.ReportAfterEach(func(r ginkgo.SpecReport) {
		// What focus leaves out is reported as skipped, without having run.
		if r.State == types.SpecStateSkipped && r.RunTime == 0 {
			return
		}
		write(map[string]any{"name": r.FullText(), "state": r.State.String(), "seconds": r.RunTime.Seconds(), "error": r.FailureMessage()})
	})
}
