// Package boot makes a process fit to live as long as the machine: the monitor
// and its guardian.
package boot

import (
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// fdTable is how many descriptors the table is made for at start. Growing
	// it later makes every thread wait for an RCU grace period, 10 ms and more
	// in the middle of a container's start. A container takes about five.
	fdTable = 8192
	// threads bounds what runs Go code at a time: the work is short and mostly
	// the kernel's, and each of them costs memory.
	threads = 4
	// gcPercent trades time, of which there is plenty, for memory.
	gcPercent = 50
	// maxLogBytes bounds what one monitor writes to its log.
	maxLogBytes = 1 << 20
)

// Process makes the calling process fit to be a monitor or a guardian. What the system does not
// permit is logged and done without.
//
// Go's runtime has raised the soft limit of open files to the hard one by now
// and puts it back only in processes started by os/exec: who forks by other
// means must set the limit from the container's specification. The oom score
// adjustment of -999 is inherited as well and must be reset likewise.
func Process(log *slog.Logger) {
	runtime.GOMAXPROCS(min(runtime.GOMAXPROCS(0), threads))
	debug.SetGCPercent(gcPercent)
	unix.Umask(0o022)
	// Only Shutdown ends the monitor. The signals are caught and dropped rather
	// than ignored: an ignored signal stays ignored in the containers.
	dropped := make(chan os.Signal, 1)
	signal.Notify(dropped, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	go func() {
		for range dropped {
		}
	}()
	// Keeps other processes, and containers that get hold of /proc/PID, away
	// from our memory and descriptors.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		log.Warn("the monitor stays dumpable", "error", err)
	}
	err := os.WriteFile("/proc/self/oom_score_adj", []byte("-999"), 0) //nolint:forbidigo // a file of the kernel
	if err != nil {
		log.Info("the monitor is not protected from the OOM killer", "error", err)
	}
	growFDTable()
}

func growFDTable() {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return
	}
	if limit.Cur < limit.Max { // Go does so only where os is initialised late enough to see it
		limit.Cur = limit.Max
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
	}
	high := int(min(fdTable, limit.Cur)) - 1
	if unix.Dup3(0, high, unix.O_CLOEXEC) == nil {
		_ = unix.Close(high)
	}
}

// Log writes to f, a file opened for appending, and empties it where it
// has grown out of bounds: a monitor lives for months.
func Log(f *os.File) *slog.Logger {
	return slog.New(slog.NewTextHandler(&bounded{file: f}, nil))
}

type bounded struct {
	mu      sync.Mutex
	file    *os.File
	written int
}

func (b *bounded) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.written += len(p); b.written > maxLogBytes {
		b.written = len(p)
		_ = b.file.Truncate(0) // no error where it is a terminal
	}
	return b.file.Write(p)
}
