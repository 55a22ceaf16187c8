// Sh is the shell of the test images: busybox's, whose words tests compare, or
// bash if the environment has a name that is no shell variable ("1-data-1"),
// because Debian's busybox does not hand such names on.
package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"syscall"
)

func main() {
	shell := "/usr/bin/busybox"
	variable := regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); !variable.MatchString(name) {
			shell = "/usr/bin/bash"
		}
	}
	args := append([]string{"sh"}, os.Args[1:]...)
	if strings.HasSuffix(os.Args[0], "/sh") {
		args[0] = os.Args[0] // what the shell calls itself in messages
	}
	fmt.Fprintf(os.Stderr, "sh: %s: %v\n", shell, syscall.Exec(shell, args, os.Environ()))
	os.Exit(126)
}
