package main

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"hoy/internal/log"
	"hoy/internal/monitor"
)

// dial connects anew.
func (b *box) dial(tb testing.TB) {
	tb.Helper()
	var err error
	b.Client, err = monitor.Dial(tb.Context(), monitor.Options{Socket: filepath.Join(b.dir, "m.sock"), ExecRoot: b.dir, Binary: b.program})
	check(tb, err)
}

// succeed kills the monitor and goes on with the next.
func (b *box) succeed(tb testing.TB) {
	tb.Helper()
	old := b.Pid()
	check(tb, syscall.Kill(old, syscall.SIGKILL))
	<-b.Done()
	_ = b.Close()
	b.dial(tb)
	if b.Pid() == old {
		tb.Fatal("it was not killed")
	}
}

// TestMonitorsSucceedEachOther: right after a start, while commands run in
// containers, and after an upgrade.
func TestMonitorsSucceedEachOther(t *testing.T) {
	b := newBox(t)
	const n = 10
	for i := range n {
		req := b.request("k"+strconv.Itoa(i), monitor.Stdio{}, "sh", "-c", "echo begin; sleep 0.5; echo end; exit "+strconv.Itoa(30+i))
		req.Log = &log.Config{Path: filepath.Join(b.dir, "k"+strconv.Itoa(i)+".log")}
		_, err := b.Start(t.Context(), req)
		check(t, err)
		began := time.Now()
		b.succeed(t)
		if took := time.Since(began); took > time.Second {
			t.Errorf("the next monitor came after %v", took)
		}
	}
	for i := range n {
		if e := b.endOf(t, "k"+strconv.Itoa(i)); e.Code != 30+i || e.Unknown != "" {
			t.Errorf("k%d: %+v", i, e)
		}
	}
}

// endOf waits for the end of a container, through whatever connection there is.
func (b *box) endOf(tb testing.TB, name string) monitor.Exit {
	tb.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		list, err := b.List(tb.Context())
		check(tb, err)
		at := slices.IndexFunc(list, func(p monitor.ProcessState) bool { return p.ID == id(name) })
		if at < 0 {
			tb.Fatalf("%s is not known", name)
		}
		if list[at].Exit != nil {
			return *list[at].Exit
		}
	}
	tb.Fatalf("no end of %s", name)
	return monitor.Exit{}
}

// TestUpgradeAmongKills: what a killed monitor has left goes on through an
// upgrade in place, and the next killed one is followed by the upgraded program.
func TestUpgradeAmongKills(t *testing.T) {
	b := newBox(t)
	start := func(name, script string) {
		t.Helper()
		req := b.request(name, monitor.Stdio{OpenStdin: true}, "sh", "-c", script)
		req.Log = &log.Config{Path: filepath.Join(b.dir, name+".log")}
		_, err := b.Start(t.Context(), req)
		check(t, err)
	}
	start("one", "read x; exit 41")
	b.succeed(t)
	start("two", "read x; exit 42")
	pid := b.Pid()
	check(t, b.Upgrade(t.Context(), b.program))
	_ = b.Close()
	b.dial(t)
	if b.Pid() != pid {
		t.Errorf("process %d, was %d", b.Pid(), pid)
	}
	start("three", "read x; exit 43")
	b.succeed(t)
	for i, name := range []string{"one", "two", "three"} {
		conn := b.attach(t, id(name), monitor.Stdio{OpenStdin: true})
		_, err := conn.Write([]byte("go\n"))
		check(t, err)
		if e := b.endOf(t, name); e.Code != 41+i || e.Unknown != "" {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

// TestWithoutAGuardian: where both are killed containers go on, and an exit code
// is known from the kernel, or said to be unknown.
func TestWithoutAGuardian(t *testing.T) {
	b := newBox(t)
	for name, script := range map[string]string{
		"ends":   "echo one; sleep 0.05; exit 7",
		"later":  "sleep 1; exit 9",
		"writes": "i=0; while [ $i -lt 3000 ]; do echo $i; i=$((i+1)); done; exit 8",
	} {
		req := b.request(name, monitor.Stdio{}, "sh", "-c", script)
		req.Log = &log.Config{Path: filepath.Join(b.dir, name+".log")}
		_, err := b.Start(t.Context(), req)
		check(t, err)
	}
	guardian, old := parentOf(t, b.Pid()), b.Pid()
	check(t, syscall.Kill(guardian, syscall.SIGKILL))
	check(t, syscall.Kill(old, syscall.SIGKILL))
	<-b.Done()
	_ = b.Close()
	time.Sleep(300 * time.Millisecond)
	b.dial(t)
	if e := b.endOf(t, "ends"); e.Code != 7 && (e.Code != 255 || !strings.Contains(e.Unknown, "exit status unknown")) {
		t.Errorf("%+v", e)
	}
	if e := b.endOf(t, "writes"); e.Code != 8 && (e.Code != 255 || !strings.Contains(e.Unknown, "exit status unknown")) {
		t.Errorf("%+v", e)
	}
	if e := b.endOf(t, "later"); e.Code != 9 && e.Unknown == "" {
		t.Errorf("%+v", e)
	}
	if now := parentOf(t, b.Pid()); now == guardian || now == 1 {
		t.Errorf("the new monitor's parent is %d", now)
	}
}
