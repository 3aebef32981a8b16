package chaos

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hoy/test/e2e/engine"
)

const (
	connections = 100
	echoers     = 4
)

// wires are connections through published ports that stay open all the time:
// each sends numbers and must get each of them back, in order.
type wires struct {
	t       *testing.T
	stop    chan struct{}
	wg      sync.WaitGroup
	numbers atomic.Int64
	longest atomic.Int64 // nanoseconds until a number was back
}

func openWires(t *testing.T, e *engine.Engine) *wires {
	t.Helper()
	w := &wires{t: t, stop: make(chan struct{})}
	for i := range echoers {
		name := fmt.Sprintf("echo%d", i)
		publish := []string{"127.0.0.1::80", "80"}[i%2]
		e.Must("run", "-d", "--name", name, "-p", publish, "busybox", "nc", "-ll", "-p", "80", "-e", "cat")
		port := e.Must("port", name, "80")
		port, _, _ = strings.Cut(port, "\n")
		host := "127.0.0.1"
		if i == 3 {
			host = e.Must("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}", name)
		}
		address := host + port[strings.LastIndex(port, ":"):]
		for range connections / echoers {
			var conn net.Conn
			engine.Eventually(t, "a connection to "+address, func() (ok bool) {
				var err error
				conn, err = net.DialTimeout("tcp", address, time.Second)
				return err == nil
			})
			w.wg.Go(func() { w.carry(conn) })
		}
	}
	return w
}

// carry sends a number every few milliseconds until told to stop, and then
// closes its side and reads to the end.
func (w *wires) carry(conn net.Conn) {
	defer conn.Close()
	var sent atomic.Uint64
	times := make(chan time.Time, 1<<16)
	go func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for n := uint64(0); ; n++ {
			times <- time.Now()
			if err := binary.Write(conn, binary.BigEndian, n); err != nil {
				w.t.Errorf("a connection broke at number %d: %v", n, err)
				return
			}
			sent.Add(1)
			select {
			case <-tick.C:
			case <-w.stop:
				_ = conn.(*net.TCPConn).CloseWrite()
				return
			}
		}
	}()
	r := bufio.NewReader(conn)
	for want := uint64(0); ; want++ {
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		var got uint64
		err := binary.Read(r, binary.BigEndian, &got)
		if errors.Is(err, io.EOF) {
			select {
			case <-w.stop:
			default:
				w.t.Errorf("a connection was closed at number %d", want)
			}
			if n := sent.Load(); n != want {
				w.t.Errorf("%d numbers came back of %d", want, n)
			}
			return
		}
		if err != nil || got != want {
			w.t.Errorf("number %d came back where %d was next: %v", got, want, err)
			return
		}
		w.numbers.Add(1)
		took := int64(time.Since(<-times))
		for old := w.longest.Load(); took > old && !w.longest.CompareAndSwap(old, took); old = w.longest.Load() {
		}
	}
}

func (w *wires) close() {
	close(w.stop)
	w.wg.Wait()
}

func (w *wires) String() string {
	return fmt.Sprintf("%d connections carried %d numbers to and fro, the longest way took %v",
		connections, w.numbers.Load(), time.Duration(w.longest.Load()).Round(time.Millisecond))
}
