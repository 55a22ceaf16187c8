//go:build linux && cgo

package main

import (
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// own notes that somebody waits for a child, so that it is not reaped here.
func (s *server) own(pid int, owned bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if owned {
		s.children[pid] = true
	} else {
		delete(s.children, pid)
	}
}

// reapOrphans ends the zombies that a sub-reaper inherits: processes of
// containers that share the node's pid namespace. It looks some time after a
// child ended, when libcontainer has taken what is its own.
func (s *server) reapOrphans() {
	const settle = 2 * time.Second
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	for range ended {
		before := zombies()
		if len(before) == 0 {
			continue
		}
		time.Sleep(settle)
		for pid := range zombies() {
			s.mu.Lock()
			owned := s.children[pid]
			s.mu.Unlock()
			if before[pid] && !owned {
				_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
			}
		}
	}
}

// zombies are the dead children of this process's main thread. That one begins
// no process (see main) but gets the orphans. What libcontainer begins, and waits
// for, is another thread's, however long it does not come to wait, unless that
// thread is thrown away.
func zombies() map[int]bool {
	found := map[int]bool{}
	data, _ := os.ReadFile("/proc/self/task/" + strconv.Itoa(os.Getpid()) + "/children")
	for _, field := range strings.Fields(string(data)) {
		if pid, err := strconv.Atoi(field); err == nil && statField(pid, 3) == "Z" {
			found[pid] = true
		}
	}
	return found
}
