package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"

	"hoy/internal/log"
	"hoy/internal/monitor"
)

// TestTheMonitorIsReplacedInPlace: what runs must not notice, whatever it is
// doing: writing numbered lines and half lines, reading what an attached client
// types, in a terminal, ending just then.
func TestTheMonitorIsReplacedInPlace(t *testing.T) {
	b := newBox(t)
	start := func(req monitor.StartRequest) {
		t.Helper()
		req.Log = &log.Config{Driver: "json-file", Path: filepath.Join(b.dir, req.ID.Container+".log")}
		_, err := b.Start(t.Context(), req)
		check(t, err)
	}
	input := monitor.Stdio{OpenStdin: true, StdinOnce: true}
	screen := monitor.Stdio{OpenStdin: true, Terminal: true}
	const lines = 3000
	start(b.request("count", monitor.Stdio{}, "sh", "-c", fmt.Sprintf(`i=0; while [ $i -lt %d ]; do i=$((i+1)); echo -n "line "; echo $i; done; exit 7`, lines)))
	start(b.request("half", monitor.Stdio{}, "sh", "-c", `echo -n "begun, "; sleep 2; echo ended; exit 3`))
	conn, tty := b.attach(t, id("cat"), input), b.attach(t, id("tty"), screen)
	start(b.request("cat", input, "sh", "-c", `cat; echo end; exit 4`))
	start(b.request("tty", screen, "sh", "-c", `read a; read b; stty size; echo "got $a $b"; exit 5`))
	start(b.request("idle", monitor.Stdio{OpenStdin: true}, "sh", "-c", `trap "exit 6" TERM; while :; do sleep 0.05; done`))
	_, err := io.WriteString(conn, "first\n")
	check(t, err)
	_, err = io.WriteString(tty, "one\n")
	check(t, err)
	pid := b.Pid()
	ends := map[string]int{}
	for range 5 {
		check(t, b.Upgrade(t.Context(), b.program))
		for e := range b.Exits() { // closed with the connection
			ends[e.ID.Container] = e.Code
		}
		b.Client, err = monitor.Dial(t.Context(), monitor.Options{Socket: filepath.Join(b.dir, "m.sock"), ExecRoot: b.dir, Binary: b.program})
		check(t, err)
		if b.Pid() != pid {
			said, _ := os.ReadFile(filepath.Join(b.dir, monitor.LogFile))
			t.Fatalf("process %d, was %d\n%s", b.Pid(), pid, said)
		}
	}
	check(t, b.Resize(t.Context(), id("tty"), 33, 77))
	_, err = io.WriteString(conn, "second\n")
	check(t, err)
	check(t, conn.(interface{ CloseWrite() error }).CloseWrite())
	_, err = io.WriteString(tty, "two\n")
	check(t, err)
	var text bytes.Buffer
	if _, err := stdcopy.StdCopy(&text, &text, conn); err != nil || text.String() != "first\nsecond\nend\n" {
		t.Errorf("attached: %q, %v", &text, err)
	}
	if out, err := io.ReadAll(tty); err != nil || !strings.Contains(string(out), "33 77\r\ngot one two\r\n") {
		t.Errorf("terminal: %q, %v", out, err)
	}
	check(t, b.Signal(t.Context(), id("idle"), syscall.SIGTERM))
	want := map[string]int{"count": 7, "half": 3, "cat": 4, "tty": 5, "idle": 6}
	collect(t, b, ends, len(want))
	for name, code := range want {
		if ends[name] != code {
			t.Errorf("%s ended with %d, want %d", name, ends[name], code)
		}
	}
	if got := logged(t, filepath.Join(b.dir, "half.log")); got != "begun, ended\n" {
		t.Errorf("half: %q", got)
	}
	in := bufio.NewScanner(strings.NewReader(logged(t, filepath.Join(b.dir, "count.log"))))
	for i := 1; i <= lines; i++ {
		if !in.Scan() || in.Text() != fmt.Sprintf("line %d", i) {
			t.Fatalf("line %d: %q", i, in.Text())
		}
	}
}

// collect waits until n processes have ended, as told or as listed.
func collect(t *testing.T, b *box, ends map[string]int, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		list, err := b.List(ctx)
		check(t, err)
		for _, p := range list {
			if p.Exit != nil {
				ends[p.ID.Container] = p.Exit.Code
			}
		}
		if len(ends) >= n {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// logged is the text of a json-file log.
func logged(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	check(t, err)
	var out strings.Builder
	for line := range strings.Lines(string(data)) {
		_, rest, _ := strings.Cut(line, `{"log":"`)
		body, _, _ := strings.Cut(rest, `","stream"`)
		out.WriteString(strings.NewReplacer(`\n`, "\n", `\r`, "\r").Replace(body))
	}
	return out.String()
}

// TestAnUpgradeThatFailsChangesNothing: the program is not one.
func TestAnUpgradeThatFailsChangesNothing(t *testing.T) {
	b := newBox(t)
	_, err := b.Start(t.Context(), b.request("on", monitor.Stdio{OpenStdin: true}, "sh", "-c", "trap 'exit 9' TERM; while :; do sleep 0.05; done"))
	check(t, err)
	input := monitor.Stdio{OpenStdin: true, StdinOnce: true}
	conn := b.attach(t, id("cat"), input)
	_, err = b.Start(t.Context(), b.request("cat", input, "sh", "-c", "cat; exit 8"))
	check(t, err)
	bad := filepath.Join(b.dir, "bad")
	check(t, os.WriteFile(bad, []byte("not a program"), 0o755))
	if err := b.Upgrade(t.Context(), bad); err == nil || !strings.Contains(err.Error(), "exec format error") {
		t.Fatalf("upgrade: %v", err)
	}
	check(t, b.Signal(t.Context(), id("on"), syscall.SIGTERM))
	if e := <-b.Exits(); e.Code != 9 {
		t.Errorf("%+v", e)
	}
	// Nothing else holds the input any more: its end gets through.
	check(t, conn.(interface{ CloseWrite() error }).CloseWrite())
	if e := <-b.Exits(); e.Code != 8 {
		t.Errorf("%+v", e)
	}
}
