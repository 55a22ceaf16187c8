package netns

import (
	"fmt"
	"os"
	"runtime"

	vns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Isolate runs f on a thread of its own that ends with it, so that f may
// unshare or change whatever belongs to a thread. It never takes the process's
// main thread: /proc/self shows that one's namespaces to everybody.
func Isolate(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// While this goroutine holds the main thread, the next one gets another.
			done <- Isolate(f)
			runtime.UnlockOSThread()
			return
		}
		done <- f() // a goroutine that ends locked takes its thread with it
	}()
	return <-done
}

// Do runs f on a thread that is in the network namespace pinned at path (any
// nsfs file will do, such as /proc/PID/ns/net), and returns its error. If the
// thread cannot be brought back afterwards it is thrown away.
func Do(path string, f func() error) error {
	ns, err := Open(path)
	if err != nil {
		return err
	}
	defer ns.Close()
	return DoFile(ns, f)
}

// DoFile is Do for a namespace that is open already.
func DoFile(ns *os.File, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- inside(ns, f) }()
	return <-done
}

// inside must be called on a goroutine that does nothing else.
func inside(ns *os.File, f func() error) error {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		defer runtime.UnlockOSThread()
		return DoFile(ns, f)
	}
	home, err := vns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("remember the thread's network namespace: %w", err)
	}
	defer home.Close()
	if err := vns.Set(vns.NsHandle(ns.Fd())); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace %s: %w", ns.Name(), err)
	}
	err = f()
	if back := vns.Set(home); back == nil {
		runtime.UnlockOSThread()
	}
	return err
}
