package logs

import (
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"hoy/test/e2e/engine"
)

const journalSocket = "/run/systemd/journal/socket"

// TestJournald listens in journald's place, where there is none.
func TestJournald(t *testing.T) {
	if _, err := os.Stat(journalSocket); err == nil {
		t.Skip("a journald listens on this machine: its socket is not taken from it")
	}
	e := start(t)
	e.Hoy("run", "--rm", "--log-driver", "journald", "busybox", "true").
		Refused(t, 125, "failed to initialize logging driver: journald is not enabled on this host")
	if err := os.MkdirAll("/run/systemd/journal", 0o755); err != nil {
		t.Fatal(err)
	}
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: journalSocket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove("/run/systemd/journal") // where it is empty, as it was made
	defer os.Remove(journalSocket)
	defer c.Close()
	var mu sync.Mutex
	var got []string
	go func() {
		buf := make([]byte, 256<<10)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			mu.Lock()
			got = append(got, string(buf[:n]))
			mu.Unlock()
		}
	}()
	const n = 2000
	e.Must(append([]string{"run", "--name", "jo", "--log-driver", "journald", "--log-opt", "tag=x-{{.Name}}"}, say(n)...)...)
	inOrder(t, e.Must("logs", "jo"), n)
	engine.Eventually(t, "all entries", func() bool { mu.Lock(); defer mu.Unlock(); return len(got) >= n })
	mu.Lock()
	defer mu.Unlock()
	for _, field := range []string{"PRIORITY=6\n", "MESSAGE=line 2000\n", "CONTAINER_NAME=jo\n", "CONTAINER_TAG=x-jo\n", "IMAGE_NAME=busybox\n", "CONTAINER_LOG_ORDINAL=2000\n"} {
		if !strings.Contains(got[n-1], field) {
			t.Errorf("the last entry has no %q: %q", field, got[n-1])
		}
	}
}
