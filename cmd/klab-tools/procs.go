package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// processApplets look at processes and signal them.
func processApplets() []applet {
	return []applet{
		{name: "ps", usage: "[-ef]", run: ps},
		{name: "kill", usage: "[-SIGNAL] PID ... | -l", run: kill},
		{name: "killall", usage: "[-SIGNAL] NAME ...", run: killall},
		{name: "pidof", usage: "NAME", run: pidof},
	}
}

// process is a row of ps, from /proc/PID (proc(5)).
type process struct {
	pid, ppid int
	uid       int
	state     string
	started   time.Duration // after boot
	ticks     int64         // of the CPU, user and system, in 1/100 s
	rss       int64         // bytes
	command   string
}

// processes reads /proc; a process that ends meanwhile is left out.
func processes() ([]process, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var all []process
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if p, ok := readProcess(dir, pid); ok {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b process) int { return a.pid - b.pid })
	return all, nil
}

func readProcess(dir string, pid int) (process, bool) {
	p := process{pid: pid}
	data, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return p, false
	}
	// The name, in parentheses, may itself contain anything.
	open, end := strings.IndexByte(string(data), '('), strings.LastIndexByte(string(data), ')')
	if open < 0 || end < open {
		return p, false
	}
	f := strings.Fields(string(data[end+1:]))
	if len(f) < 22 {
		return p, false
	}
	number := func(i int) int64 { n, _ := strconv.ParseInt(f[i], 10, 64); return n }
	p.state, p.ppid = f[0], int(number(1))
	p.ticks = number(11) + number(12)
	p.started = time.Duration(number(19)) * 10 * time.Millisecond
	p.rss = number(21) * int64(os.Getpagesize())
	p.command = "[" + string(data[open+1:end]) + "]"
	if args, err := os.ReadFile(dir + "/cmdline"); err == nil && len(args) > 0 {
		p.command = strings.ReplaceAll(strings.TrimRight(string(args), "\x00"), "\x00", " ")
	}
	if fi, err := os.Stat(dir); err == nil {
		p.uid = int(fi.Sys().(*syscall.Stat_t).Uid)
	}
	return p, true
}

func ps(c *call) int {
	all, err := processes()
	if err != nil {
		return c.failf("%v", err)
	}
	fmt.Fprintf(c.out, "%5s %5s %-8s %-4s %7s %8s %s\n", "PID", "PPID", "USER", "STAT", "RSS", "TIME", "COMMAND")
	for _, p := range all {
		user := named("/etc/passwd", p.uid)
		if user == "" {
			user = strconv.Itoa(p.uid)
		}
		cpu := p.ticks / 100
		fmt.Fprintf(c.out, "%5d %5d %-8s %-4s %7s %5d:%02d %s\n", p.pid, p.ppid, user, p.state,
			humanBytes(uint64(p.rss)), cpu/60, cpu%60, p.command)
	}
	return 0
}

// signalArg takes "-9", "-TERM", "-SIGTERM" or "-s NAME" off the arguments.
func signalArg(args []string) (syscall.Signal, []string, error) {
	if len(args) == 0 || len(args[0]) < 2 || args[0][0] != '-' {
		return syscall.SIGTERM, args, nil
	}
	word, rest := args[0][1:], args[1:]
	if word == "s" && len(rest) > 0 {
		word, rest = rest[0], rest[1:]
	}
	sig, ok := signalByName(word)
	if !ok {
		return 0, nil, fmt.Errorf("no signal %q", word)
	}
	return sig, rest, nil
}

// signalByName reads "TERM", "SIGTERM" or "15".
func signalByName(word string) (syscall.Signal, bool) {
	if n, err := strconv.Atoi(word); err == nil && n >= 0 && n < 65 {
		return syscall.Signal(n), true
	}
	word = strings.TrimPrefix(strings.ToUpper(word), "SIG")
	for _, s := range signalNames {
		if s.name == word {
			return s.sig, true
		}
	}
	return 0, false
}

func kill(c *call) int {
	if len(c.args) == 1 && c.args[0] == "-l" {
		for _, s := range signalNames {
			fmt.Fprintf(c.out, "%2d %s\n", int(s.sig), s.name)
		}
		return 0
	}
	sig, rest, err := signalArg(c.args)
	if err != nil {
		return c.usage(err.Error())
	}
	if len(rest) == 0 {
		return c.usage("which process?")
	}
	code := 0
	for _, a := range rest {
		pid, err := strconv.Atoi(a)
		if err != nil {
			return c.usage(fmt.Sprintf("%q is no process id", a))
		}
		if err := syscall.Kill(pid, sig); err != nil {
			code = c.failf("%d: %v", pid, err)
		}
	}
	return code
}

// byName finds the processes whose program has that name, but not this one.
func byName(name string) ([]int, error) {
	all, err := processes()
	var pids []int
	for _, p := range all {
		first, _, _ := strings.Cut(p.command, " ")
		if p.pid != os.Getpid() && filepath.Base(first) == name {
			pids = append(pids, p.pid)
		}
	}
	return pids, err
}

func killall(c *call) int {
	sig, rest, err := signalArg(c.args)
	if err != nil {
		return c.usage(err.Error())
	}
	code := 0
	for _, name := range rest {
		pids, err := byName(name)
		if err != nil {
			return c.failf("%v", err)
		}
		if len(pids) == 0 {
			code = c.failf("%s: no such process", name)
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, sig); err != nil {
				code = c.failf("%d: %v", pid, err)
			}
		}
	}
	return code
}

func pidof(c *call) int {
	if len(c.args) != 1 {
		return c.usage("one name")
	}
	pids, err := byName(c.args[0])
	if err != nil {
		return c.failf("%v", err)
	}
	if len(pids) == 0 {
		return 1
	}
	fmt.Fprintln(c.out, strings.Trim(fmt.Sprint(pids), "[]"))
	return 0
}
