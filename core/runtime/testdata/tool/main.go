// Tool is the program in the test image: each first argument is a small
// behaviour that a test looks at from outside.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	args := append(os.Args[1:], "", "")
	number, _ := strconv.Atoi(args[1])
	switch args[0] {
	case "sleep":
		time.Sleep(time.Hour)
	case "exit":
		os.Exit(number)
	case "echo":
		fmt.Println("out:", args[1])
		fmt.Fprintln(os.Stderr, "err:", args[1])
	case "trap": // ends by SIGTERM, with a code of its own
		ch := make(chan os.Signal, 1)
		signal.Notify(ch, syscall.SIGTERM)
		fmt.Println("ready")
		<-ch
		os.Exit(number)
	case "ignore":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("ready")
		time.Sleep(time.Hour)
	case "count": // lines without end, each a number
		for i := 0; number == 0 || i < number; i++ {
			fmt.Println("line", i)
			if args[2] != "" {
				d, _ := time.ParseDuration(args[2])
				time.Sleep(d)
			}
		}
	case "noeol":
		fmt.Print("no end")
		fmt.Fprintln(os.Stderr, "ready")
		time.Sleep(time.Hour)
	case "long":
		b := make([]byte, number)
		for i := range b {
			b[i] = 'x'
		}
		os.Stdout.Write(append(b, '\n'))
	case "eatmem":
		var all [][]byte
		for {
			b := make([]byte, 1<<20)
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
			all = append(all, b)
		}
	case "stat": // owner and mode of a file
		info, err := os.Lstat(args[1])
		if err != nil {
			fmt.Println(err)
			return
		}
		st := info.Sys().(*syscall.Stat_t)
		fmt.Printf("%d %d %o\n", st.Uid, st.Gid, st.Mode&0o7777)
	case "spawn": // a child that outlives its parent if it may
		c := exec.Command("/bin/tool", "sleep")
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := c.Start(); err != nil {
			panic(err)
		}
		fmt.Println(c.Process.Pid)
		time.Sleep(time.Hour)
	case "hold": // so many MiB
		mib, _ := strconv.Atoi(args[1])
		held := make([]byte, mib<<20)
		for i := 0; i < len(held); i += 4096 {
			held[i] = 1
		}
		fmt.Println("ready")
		time.Sleep(time.Hour)
		fmt.Println(len(held))
	case "bomb": // each child is one, too
		for {
			_ = exec.Command("/bin/tool", "bomb").Start()
			time.Sleep(time.Millisecond)
		}
	case "open":
		_, err := os.Open(args[1])
		fmt.Println(err)
	case "burn":
		fmt.Println("ready")
		for {
		}
	case "fill": // a file, with so many bytes
		size, _ := strconv.Atoi(args[2])
		if err := os.WriteFile(args[1], make([]byte, size), 0o644); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	case "cat":
		io.Copy(os.Stdout, os.Stdin)
	case "read": // a file
		b, err := os.ReadFile(args[1])
		fmt.Printf("%s%v\n", b, err)
	case "write":
		fmt.Println(os.WriteFile(args[1], []byte("x"), 0o644))
	case "id":
		groups, _ := os.Getgroups()
		cwd, _ := os.Getwd()
		name, _ := os.Hostname()
		fmt.Println(os.Getuid(), os.Getgid(), groups, cwd, name, os.Getenv("GREETING"), os.Getpid())
	case "unshare":
		fmt.Println(syscall.Unshare(syscall.CLONE_NEWNS))
	case "mount":
		at := "/tmp"
		if args[1] != "" {
			at = args[1]
		}
		fmt.Println(syscall.Mount("tmpfs", at, "tmpfs", 0, ""))
	case "serve":
		l, err := net.Listen("tcp", "127.0.0.1:"+args[1])
		if err != nil {
			panic(err)
		}
		fmt.Println("ready")
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "hello\n")
			c.Close()
		}
	case "size": // of the terminal, after a moment
		time.Sleep(200 * time.Millisecond)
		b, err := exec.Command("/bin/tool", "winsize").CombinedOutput()
		fmt.Print(string(b), err)
	case "isatty":
		_, err := os.Stat("/dev/console")
		info, _ := os.Stdout.Stat()
		fmt.Println(info.Mode()&os.ModeCharDevice != 0, err)
	case "linger": // leaves a child that holds stdout
		c := exec.Command("/bin/tool", "sleep")
		c.Stdout = os.Stdout
		fmt.Println("parent", c.Start())
	}
}
