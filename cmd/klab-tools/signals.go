package main

import (
	"os"
	"os/signal"
	"syscall"
)

// exitOnSignals makes PID 1 die of the signals that end any other process,
// with the status that a shell would report, 128+n. The kernel drops a signal
// to PID 1 that has no handler (pid_namespaces(7)), and Go's own fall-back
// exits with 2. Other processes keep the default and are killed truly.
func exitOnSignals() {
	if os.Getpid() != 1 {
		return
	}
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT)
	go func() {
		s := <-c
		os.Exit(128 + int(s.(syscall.Signal)))
	}()
}

// signalNames are the signals that kill and trap accept by name.
var signalNames = []struct {
	name string
	sig  syscall.Signal
}{
	{"HUP", syscall.SIGHUP}, {"INT", syscall.SIGINT}, {"QUIT", syscall.SIGQUIT},
	{"ABRT", syscall.SIGABRT}, {"KILL", syscall.SIGKILL}, {"USR1", syscall.SIGUSR1},
	{"SEGV", syscall.SIGSEGV}, {"USR2", syscall.SIGUSR2}, {"PIPE", syscall.SIGPIPE},
	{"ALRM", syscall.SIGALRM}, {"TERM", syscall.SIGTERM}, {"CHLD", syscall.SIGCHLD},
	{"CONT", syscall.SIGCONT}, {"STOP", syscall.SIGSTOP}, {"TSTP", syscall.SIGTSTP},
}
