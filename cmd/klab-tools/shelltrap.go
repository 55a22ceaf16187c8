package main

import (
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"mvdan.cc/sh/v3/syntax"
)

// watchSignals gives the shell its signals. Without a trap, SIGTERM, SIGHUP
// and SIGINT end it with 128+n, also as PID 1; a shell in conversation ignores
// SIGTERM, and SIGINT ends only the command in the foreground.
func (s *shell) watchSignals() {
	watched := []os.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT}
	if os.Getpid() == 1 {
		watched = append(watched, syscall.SIGCHLD)
	}
	signal.Notify(s.signals, watched...)
	go func() {
		for sig := range s.signals {
			s.got(sig.(syscall.Signal))
		}
	}()
}

func (s *shell) got(sig syscall.Signal) {
	if sig == syscall.SIGCHLD {
		s.reap()
		return
	}
	s.mu.Lock()
	text, trapped := s.traps[sig]
	if trapped && text != "" {
		s.pending = append(s.pending, sig)
	}
	s.mu.Unlock()
	switch {
	case trapped:
		select {
		case s.arrived <- struct{}{}:
		default:
		}
	case s.interactive && sig != syscall.SIGHUP:
	default:
		os.Exit(128 + int(sig))
	}
}

// takeTraps returns the texts of the traps whose signals have arrived.
func (s *shell) takeTraps() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pending) == 0 || s.waiting {
		return ""
	}
	var texts []string
	for _, sig := range s.pending {
		texts = append(texts, s.traps[sig])
	}
	s.pending = nil
	select {
	case <-s.arrived:
	default:
	}
	return strings.Join(texts, "\n")
}

// setTraps is the trap builtin for signals. EXIT and ERR are the interpreter's
// own: what is returned is the call that is left for it.
func (s *shell) setTraps(args []string) []string {
	rest := args[1:]
	if len(rest) > 0 && rest[0] == "--" {
		rest = rest[1:]
	}
	if len(rest) < 2 {
		return args
	}
	text := rest[0]
	var left []string
	for _, word := range rest[1:] {
		sig, ok := signalByName(word)
		if word == "0" || !ok {
			if word == "0" {
				word = "EXIT"
			}
			left = append(left, word)
			continue
		}
		s.setTrap(sig, text)
	}
	if len(left) == 0 {
		return []string{"true"}
	}
	return slices.Concat([]string{"trap", "--", text}, left)
}

// setTrap handles one signal: "" ignores it, here and in commands; "-" goes
// back to the default.
func (s *shell) setTrap(sig syscall.Signal, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.traps, sig)
	switch text {
	case "":
		signal.Ignore(sig)
	case "-":
		signal.Reset(sig)
		if sig == syscall.SIGTERM || sig == syscall.SIGHUP || sig == syscall.SIGINT {
			signal.Notify(s.signals, sig)
		}
	default:
		s.traps[sig] = text
		signal.Notify(s.signals, sig)
	}
}

// quoteAll writes words so that the shell reads them as they are.
func quoteAll(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		q, err := syntax.Quote(w, syntax.LangBash)
		if err != nil { // a NUL, which no argument holds
			q = "''"
		}
		quoted[i] = q
	}
	return strings.Join(quoted, " ")
}
