// Package kmod loads kernel modules. There is one function, [Load].
//
// The kernel loads most modules that the lab needs by itself when root asks
// for a link or a rule of their kind; br_netfilter it does not.
package kmod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/link"
)

// ErrMissing is the error for a module that this kernel does not offer.
var ErrMissing = errors.New("the kernel does not have it")

// Load makes sure that a module is loaded or built in. The second result says
// whether it was loaded now: this changes the machine, so the trail has it.
func Load(ctx context.Context, by link.By, name string, params ...string) (loaded bool, err error) {
	// A module that is built in has this directory only if it takes parameters.
	if _, err := os.Stat("/sys/module/" + name); err == nil {
		return false, nil
	}
	modprobe, err := exec.LookPath("modprobe")
	if err != nil {
		for _, p := range []string{"/usr/sbin/modprobe", "/sbin/modprobe"} {
			if _, err := os.Stat(p); err == nil {
				modprobe = p
			}
		}
	}
	if modprobe == "" {
		return false, fmt.Errorf("kernel module %s: modprobe is not installed (package kmod): %w", name, ErrMissing)
	}
	start := time.Now()
	words := append([]string{name}, params...)
	out, err := exec.CommandContext(ctx, modprobe, words...).CombinedOutput()
	exit := 0
	if err != nil {
		exit = 1
	}
	step.Fact(ctx, step.Action{Actor: by.Actor, Node: by.Node, Verb: step.Ran,
		Detail: step.RanDetail{Line: "modprobe " + strings.Join(words, " "), Via: "exec", Took: step.Seconds(time.Since(start)), Exit: exit}})
	if err != nil {
		return false, fmt.Errorf("kernel module %s: %s: %w", name, strings.TrimSpace(string(out)), ErrMissing)
	}
	return true, nil
}
