package main_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// browse lets "klab expose" run, asks at the address that it prints until the
// answer has a text, and ends it as Ctrl-C does: browse TEXT VIA ARGS... VIA is
// what it says of the way.
func browse(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: browse TEXT VIA ARGS...")
	}
	cmd := exec.Command(filepath.Join(strings.Split(ts.Getenv("PATH"), ":")[0], "klab"), append([]string{"expose"}, args[2:]...)...)
	for _, name := range []string{"KLAB_ROOT", "KLAB_CLUSTER", "PATH", "HOME"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	defer func() { _ = cmd.Process.Kill() }() // unless it has ended
	said := bufio.NewReader(out)
	url, _ := said.ReadString('\n')
	via, _ := said.ReadString('\n')
	url = strings.TrimSpace(url)
	if !strings.Contains(via, args[1]) {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		ts.Fatalf("klab expose says %q %q %s, and not %q", url, via, complaints.String(), args[1])
	}
	last := answer(url, args[0])
	ts.Check(cmd.Process.Signal(os.Interrupt))
	_, _ = io.Copy(io.Discard, said)
	if err := cmd.Wait(); err != nil {
		ts.Fatalf("after Ctrl-C: %v %s", err, complaints.String())
	}
	if !strings.Contains(last, args[0]) {
		ts.Fatalf("%s did not answer %q; last was: %s", url, args[0], last)
	}
	if c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://")); err == nil {
		c.Close()
		ts.Fatalf("somebody still listens at %s", url)
	}
}

// answer is the first one with a text, or the last without it.
func answer(url, text string) (last string) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		res, err := client.Get(url)
		if err != nil {
			last = err.Error()
			continue
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if last = fmt.Sprint(res.StatusCode, " ", string(body)); strings.Contains(last, text) {
			break
		}
	}
	return last
}
