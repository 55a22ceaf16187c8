package main

import "slices"

// applet is one command.
type applet struct {
	name  string
	usage string // what follows the name in its synopsis
	run   func(*call) int
	// signals: it has its own handlers; else PID 1 exits by exitOnSignals.
	signals bool
	// unbuffered: what it writes is wanted at once.
	unbuffered bool
}

// applets is the table of everything the program can be, by name.
func applets() []applet {
	all := slices.Concat(shellApplets(), coreApplets(), systemApplets(), textApplets(), fileApplets(),
		tarApplets(), processApplets(), loadApplets(), networkApplets(), dnsApplets(), ingressApplets())
	slices.SortFunc(all, func(a, b applet) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
	return all
}

// appletNamed returns the applet of that name, or nil.
func appletNamed(name string) *applet {
	for _, a := range applets() {
		if a.name == name {
			return &a
		}
	}
	return nil
}
