package server

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"hoy/internal/log"
	"hoy/internal/log/reader"
	"hoy/internal/monitor"
)

// scribble writes numbered lines to both outputs, in pieces of all sizes, until
// it is told to end: some lines come in two writes, some writes have a thousand lines.
func scribble() int {
	stop := make(chan struct{})
	go func() {
		var b [1]byte
		_, _ = os.Stdin.Read(b[:])
		close(stop)
	}()
	done := make(chan int, 2)
	for i, f := range []*os.File{os.Stdout, os.Stderr} {
		go func() {
			rng := rand.New(rand.NewPCG(uint64(os.Getpid()), uint64(i)))
			n := 0
			for {
				select {
				case <-stop:
					_, _ = fmt.Fprintf(f, "%d end", n) // without a newline
					done <- n
					return
				default:
				}
				var text strings.Builder
				for range 1 + rng.IntN(1<<rng.IntN(10)) {
					fmt.Fprintf(&text, "%d %s\n", n, strings.Repeat("x", rng.IntN(100)))
					n++
				}
				cut := rng.IntN(text.Len())
				_, _ = f.WriteString(text.String()[:cut])
				if rng.IntN(4) == 0 {
					time.Sleep(time.Duration(rng.IntN(2000)) * time.Microsecond)
				}
				_, _ = f.WriteString(text.String()[cut:])
			}
		}()
	}
	<-done
	<-done
	return 4
}

// TestNoLineIsLostOrTwice kills the monitor again and again while processes
// write without pause: each line is in the log once, and in order.
func TestNoLineIsLostOrTwice(t *testing.T) {
	kills, pause := 30, 12*time.Millisecond
	if os.Getenv("HOY_LONG") != "" {
		kills = 600
	}
	c, dir := dial(t)
	configs := map[string]log.Config{
		"json":     {Driver: log.JSONFile},
		"local":    {Driver: log.Local},
		"frames":   {Driver: log.Local, MaxSize: 1 << 20, MaxFiles: 10000},
		"rotating": {Driver: log.JSONFile, MaxSize: 1 << 20, MaxFiles: 10000},
	}
	for name, cfg := range configs {
		req := request(name, monitor.Stdio{OpenStdin: true}, "/proc/self/exe", "scribble")
		cfg.Path = filepath.Join(dir, name+".log")
		configs[name] = cfg
		req.Log = &cfg
		start(t, c, req)
	}
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	for range kills {
		time.Sleep(time.Duration(rng.Int64N(int64(pause))))
		_ = syscall.Kill(c.Pid(), syscall.SIGKILL)
		<-c.Done()
		_ = c.Close()
		c = redial(t, dir)
	}
	for name := range configs {
		conn, err := c.Attach(t.Context(), monitor.AttachRequest{ID: id(name), Stdin: true, Stdio: monitor.Stdio{OpenStdin: true}})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = conn.Write([]byte("q"))
	}
	total := 0
	for name, cfg := range configs {
		if e := endOf(t, c, id(name)); e.Code != 4 {
			t.Errorf("%s: %+v", name, e)
		}
		total += checkNumbers(t, name, cfg)
	}
	t.Logf("%d kills, %d lines", kills, total)
	entries, _ := os.ReadDir(filepath.Join(dir, "running"))
	if len(entries) > 0 {
		t.Errorf("left: %v", entries)
	}
}

// checkNumbers reads a log that scribble has filled and counts its lines.
func checkNumbers(t *testing.T, name string, cfg log.Config) (total int) {
	t.Helper()
	next, ended, wrong := map[string]int{}, map[string]bool{}, 0
	for e, err := range reader.Read(t.Context(), cfg, reader.ReadOptions{Stdout: true, Stderr: true, Tail: -1}, nil) {
		if err != nil {
			t.Fatal(err)
		}
		number, rest, _ := strings.Cut(string(e.Line), " ")
		n, err := strconv.Atoi(number)
		end := rest == "end"
		if err != nil || n != next[e.Stream] || ended[e.Stream] || !end && strings.Trim(rest, "x") != "\n" {
			t.Errorf("%s %s: %q where %d was to come", name, e.Stream, e.Line, next[e.Stream])
			if wrong++; wrong > 3 {
				return total
			}
			if err == nil {
				next[e.Stream] = n
			}
		}
		next[e.Stream]++
		ended[e.Stream] = end
		total++
	}
	if !ended["stdout"] || !ended["stderr"] {
		t.Errorf("%s does not end as it was written: %v", name, ended)
	}
	return total
}
