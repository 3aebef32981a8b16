package main

import (
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"hoy/internal/log"
	"hoy/internal/monitor"
)

// succeed kills the monitor and goes on with the next.
func (b *box) succeed(tb testing.TB) {
	tb.Helper()
	old := b.Pid()
	check(tb, syscall.Kill(old, syscall.SIGKILL))
	<-b.Done()
	_ = b.Close()
	var err error
	b.Client, err = monitor.Dial(tb.Context(), monitor.Options{Socket: filepath.Join(b.dir, "m.sock"), ExecRoot: b.dir, Binary: b.program})
	check(tb, err)
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
		var e monitor.Exit
		for e.At.IsZero() {
			list, err := b.List(t.Context())
			check(t, err)
			at := slices.IndexFunc(list, func(p monitor.ProcessState) bool { return p.ID == id("k"+strconv.Itoa(i)) })
			if at < 0 {
				t.Fatalf("k%d is not known", i)
			}
			if list[at].Exit != nil {
				e = *list[at].Exit
			} else {
				time.Sleep(10 * time.Millisecond)
			}
		}
		if e.Code != 30+i || e.Unknown != "" {
			t.Errorf("k%d: %+v", i, e)
		}
	}
}
