// Package probe finds out what this machine's kernel and tools can do for a
// lab, by trying it in a scratch namespace that ends with the attempt.
//
// There is one noun, [Feature]: a row of klab doctor's table. [All] returns
// the table in a fixed order. Trying a kind of link makes the kernel load its
// module, where there is one; nothing else of the machine changes.
package probe

import (
	"context"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/netlab/netns"
)

// Feature is something that a lab may use.
type Feature struct {
	Name     string `json:"name"`
	Use      string `json:"use"`               // what klab uses it for
	OK       bool   `json:"ok"`                // it works here
	Found    string `json:"found,omitempty"`   // a version or a kind, if it works
	Why      string `json:"why,omitempty"`     // the reason if it does not
	Instead  string `json:"instead,omitempty"` // what stands in for it, or how to get it
	Required bool   `json:"required"`          // no lab without it
}

// attempt is how one feature is tried: it returns what was found.
type attempt struct {
	Feature
	try func(ctx context.Context, s *scratch) (string, error)
}

// scratch is the namespace in which features are tried.
type scratch struct {
	nl     *netlink.Handle
	parent int // index of a link that others can be made on
}

// All tries everything. It never fails: what cannot be tried is not OK.
func All(ctx context.Context) []Feature { return tried(ctx, attempts()) }

// Has tries one feature, by its name.
func Has(ctx context.Context, name string) bool {
	table := slices.DeleteFunc(attempts(), func(a attempt) bool { return a.Name != name })
	rows := tried(ctx, table)
	return len(rows) == 1 && rows[0].OK
}

func tried(ctx context.Context, table []attempt) []Feature {
	rows := make([]Feature, len(table))
	for i, a := range table {
		rows[i] = a.Feature
		rows[i].Why = "not tried: no network namespace"
	}
	err := netns.Isolate(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("%w (are you root?)", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return err
		}
		nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer nl.Close()
		s := &scratch{nl: nl, parent: 1}
		for i, a := range table {
			found, err := a.try(ctx, s)
			rows[i].OK, rows[i].Found, rows[i].Why = err == nil, found, ""
			if err != nil {
				rows[i].Why = err.Error()
			} else {
				rows[i].Instead = ""
			}
		}
		return nil
	})
	if err != nil && len(rows) > 0 {
		rows[0].Why = err.Error()
	}
	return rows
}

// Missing returns the required features that do not work.
func Missing(rows []Feature) []Feature {
	var list []Feature
	for _, f := range rows {
		if f.Required && !f.OK {
			list = append(list, f)
		}
	}
	return list
}
