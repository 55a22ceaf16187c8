package main

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// loadApplets use up what a container is given, so that its limits can be seen.
func loadApplets() []applet {
	return []applet{
		{name: "eatmem", usage: "SIZE [STEP]    (64Mi, 200M; touches every page, then holds them)", run: eatmem, unbuffered: true},
		{name: "burncpu", usage: "[N] [DURATION]    (N busy threads, 1 by default)", run: burncpu, unbuffered: true},
	}
}

// byteUnits are the suffixes of a Kubernetes quantity that make sense here.
var byteUnits = []struct {
	suffix string
	factor float64
}{
	{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30},
	{"k", 1e3}, {"K", 1e3}, {"M", 1e6}, {"G", 1e9},
}

func parseBytes(s string) (int, error) {
	number, factor := strings.TrimSuffix(s, "B"), 1.0
	for _, u := range byteUnits {
		if rest, ok := strings.CutSuffix(number, u.suffix); ok {
			number, factor = rest, u.factor
			break
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || n <= 0 || n*factor > 1<<40 {
		return 0, fmt.Errorf("%q is no size: try 64Mi or 200M", s)
	}
	return int(n * factor), nil
}

// eatmem maps memory and writes to every page of it: memory that is only
// reserved is not charged to a cgroup.
func eatmem(c *call) int {
	if len(c.args) == 0 || len(c.args) > 2 {
		return c.usage("how much?")
	}
	size, err := parseBytes(c.args[0])
	if err != nil {
		return c.usage(err.Error())
	}
	step := 8 << 20
	if len(c.args) == 2 {
		if step, err = parseBytes(c.args[1]); err != nil {
			return c.usage(err.Error())
		}
	}
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return c.failf("reserve %s: %v", c.args[0], err)
	}
	page, told := os.Getpagesize(), 0
	for i := 0; i < size; i += page {
		mem[i] = 1
		if i-told >= step {
			told = i
			fmt.Fprintf(c.out, "holding %s\n", humanBytes(uint64(i)))
		}
	}
	fmt.Fprintf(c.out, "holding %s: all of it; until stopped\n", humanBytes(uint64(size)))
	select {}
}

func burncpu(c *call) int {
	n, forever := 1, true
	var d time.Duration
	var err error
	if len(c.args) > 0 {
		if n, err = strconv.Atoi(c.args[0]); err != nil || n < 1 || n > 1024 {
			return c.usage("how many threads?")
		}
	}
	if len(c.args) > 1 {
		if d, err = duration(c.args[1]); err != nil {
			return c.usage(err.Error())
		}
		forever = false
	}
	runtime.GOMAXPROCS(n + 1)
	fmt.Fprintf(c.out, "burning %d CPU(s)\n", n)
	for range n {
		go func() {
			for x := 1.0; ; x = math.Sqrt(x + 1) {
			}
		}()
	}
	if forever {
		select {}
	}
	time.Sleep(d)
	return 0
}
