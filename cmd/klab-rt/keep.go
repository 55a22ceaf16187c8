//go:build linux && cgo

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// keeper keeps a pod's files open while no klab-rt is there: the pidfds of its
// containers, which know how they ended, their terminals, and the FIFOs of
// their streams, which forget their content when nobody has them open.
//
// The files lie in a message in the queue of a socket (unix(7), SCM_RIGHTS).
// Both ends of it are the pause process's descriptors 3 and 4: it neither reads
// nor writes, it only has them. The next klab-rt takes them from there with
// pidfd_getfd(2). So this costs no process and no page of memory.
type keeper struct {
	mu     sync.Mutex
	read   int // -1 after close
	write  int
	queued int
	files  map[string]map[string]int // by container, then by name
}

// maxKept is the kernel's SCM_MAX_FD: more files do not fit into a message.
const maxKept = 253

// keptFDs are the pause process's descriptors of the two ends.
var keptFDs = [2]int{3, 4}

func newKeeper() (*keeper, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	return &keeper{read: pair[0], write: pair[1], files: map[string]map[string]int{}}, nil
}

// ends are copies of the socket's ends, to be given to the pause process.
func (k *keeper) ends() ([]*os.File, error) {
	var files []*os.File
	for _, fd := range []int{k.read, k.write} {
		copied, err := duplicate(fd)
		if err != nil {
			return nil, err
		}
		files = append(files, os.NewFile(uintptr(copied), "keeper"))
	}
	return files, nil
}

// openKeeper finds what an earlier klab-rt left with a pause process.
func openKeeper(pid int) (*keeper, error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(pidfd)
	k := &keeper{files: map[string]map[string]int{}}
	if k.read, err = unix.PidfdGetfd(pidfd, keptFDs[0], 0); err != nil {
		return nil, os.NewSyscallError("pidfd_getfd", err)
	}
	if k.write, err = unix.PidfdGetfd(pidfd, keptFDs[1], 0); err != nil {
		unix.Close(k.read)
		return nil, os.NewSyscallError("pidfd_getfd", err)
	}
	for k.receive() { // the last message is the newest
		k.queued = 0
	}
	k.store()
	return k, nil
}

// keep adds copies of a container's files.
func (k *keeper) keep(id string, files map[string]int) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.files[id] == nil {
		k.files[id] = map[string]int{}
	}
	for name, fd := range files {
		copied, err := duplicate(fd)
		if err != nil {
			warn("keep %s of %s: %v", name, id, err)
			continue
		}
		if old, ok := k.files[id][name]; ok {
			unix.Close(old)
		}
		k.files[id][name] = copied
	}
	k.store()
}

// drop lets go of a container's files.
func (k *keeper) drop(id string) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.files[id]) == 0 {
		return
	}
	for _, fd := range k.files[id] {
		unix.Close(fd)
	}
	delete(k.files, id)
	k.store()
}

// release lets go of one file.
func (k *keeper) release(id, name string) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if fd, ok := k.files[id][name]; ok {
		unix.Close(fd)
		delete(k.files[id], name)
		k.store()
	}
}

// take is a copy of a kept file.
func (k *keeper) take(id, name string) (int, bool) {
	if k == nil {
		return -1, false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	fd, ok := k.files[id][name]
	if !ok {
		return -1, false
	}
	copied, err := duplicate(fd)
	return copied, err == nil
}

func (k *keeper) close() {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.read < 0 {
		return
	}
	for _, files := range k.files {
		for _, fd := range files {
			unix.Close(fd)
		}
	}
	unix.Close(k.read)
	unix.Close(k.write)
	k.read, k.write, k.files = -1, -1, map[string]map[string]int{}
}

// label says which file of a message is what.
type label struct{ ID, Name string }

// store puts all files into the queue, and then takes the older message out:
// whenever klab-rt is killed, one is there. k.mu is held.
func (k *keeper) store() {
	if k.read < 0 {
		return
	}
	var labels []label
	var fds []int
	for id, files := range k.files {
		for name, fd := range files {
			if len(fds) < maxKept {
				labels, fds = append(labels, label{id, name}), append(fds, fd)
			}
		}
	}
	text, err := json.Marshal(labels)
	if err == nil {
		var rights []byte
		if len(fds) > 0 {
			rights = unix.UnixRights(fds...)
		}
		err = unix.Sendmsg(k.write, text, rights, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	}
	if err != nil {
		warn("the pod's files cannot be kept: %v", err)
		return
	}
	for ; k.queued > 0; k.queued-- {
		discard(k.read)
	}
	k.queued = 1
}

// receive takes one message out and has its files instead of those so far.
func (k *keeper) receive() bool {
	labels, fds, err := nextMessage(k.read)
	if err != nil {
		return false
	}
	for _, files := range k.files {
		for _, fd := range files {
			unix.Close(fd)
		}
	}
	k.files = map[string]map[string]int{}
	for i, l := range labels {
		if i < len(fds) {
			if k.files[l.ID] == nil {
				k.files[l.ID] = map[string]int{}
			}
			k.files[l.ID][l.Name] = fds[i]
		}
	}
	return true
}

func nextMessage(socket int) (labels []label, fds []int, err error) {
	text, oob := make([]byte, 64<<10), make([]byte, unix.CmsgSpace(4*maxKept))
	n, oobn, _, _, err := unix.Recvmsg(socket, text, oob, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, nil, err
	}
	if n == 0 {
		return nil, nil, fmt.Errorf("the queue is closed")
	}
	messages, _ := unix.ParseSocketControlMessage(oob[:oobn])
	for _, m := range messages {
		if more, err := unix.ParseUnixRights(&m); err == nil {
			fds = append(fds, more...)
		}
	}
	return labels, fds, json.Unmarshal(text[:n], &labels)
}

func discard(socket int) {
	_, fds, _ := nextMessage(socket)
	for _, fd := range fds {
		unix.Close(fd)
	}
}

func duplicate(fd int) (int, error) {
	return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
}

// rawFD is a file's descriptor, left in the mode that it is in.
func rawFD(f *os.File) int {
	fd := -1
	if conn, err := f.SyscallConn(); err == nil {
		_ = conn.Control(func(n uintptr) { fd = int(n) })
	}
	return fd
}
