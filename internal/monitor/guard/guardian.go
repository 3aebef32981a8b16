package guard

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"runtime/debug"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// ListenFD and SocketFD are where a monitor finds its listening socket and
	// the guardian.
	ListenFD = 3
	SocketFD = 4
	// programKey is the key of the program that monitors are started from.
	programKey = "program"
	// calm is how long a monitor must have lived for the next to be started at
	// once; the pauses of one that ends again and again grow up to longest. Who
	// is killed has done nothing wrong.
	calm     = 10 * time.Second
	shortest = 100 * time.Millisecond
	longest  = 5 * time.Second
	// gcPercent and heap keep the guardian small: it makes next to no garbage.
	gcPercent = 20
	heap      = 1 << 20
)

// Options of Run.
type Options struct {
	// Args are what a monitor is started with, beside the descriptors.
	Args []string
	// Listener is the monitor's listening socket.
	Listener *os.File
	Log      *slog.Logger
}

// guardian is the process's state. One goroutine has it.
type guardian struct {
	opt  Options
	kept map[string]int
	// awaited are children of dead monitors that live, and ended those that do not.
	awaited map[int]Process
	ended   map[Process]unix.WaitStatus
	// reaping: the monitor has said whom it waits for.
	reaping bool
	ready   bool // a monitor has ever worked
	// socket is our end, -1 without a monitor.
	socket  int
	monitor int
	dead    bool
	status  unix.WaitStatus
}

// Run is the guardian's life. It returns when a monitor has ended in order, or
// the first could not begin.
func Run(opt Options) error {
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(gcPercent)
	debug.SetMemoryLimit(heap)
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become subreaper: %w", err)
	}
	g := &guardian{opt: opt, kept: map[string]int{}, awaited: map[int]Process{}, ended: map[Process]unix.WaitStatus{}}
	died := make(chan os.Signal, 1)
	signal.Notify(died, unix.SIGCHLD)
	for pause := time.Duration(0); ; {
		begun := time.Now()
		if err := g.start(); err != nil {
			return err
		}
		if g.attend(died) {
			return nil
		}
		if !g.ready {
			return fmt.Errorf("the monitor ended at its start: %s", words(g.status))
		}
		opt.Log.Warn("the monitor has ended; the next one is started", "pid", g.monitor, "how", words(g.status))
		if time.Since(begun) > calm || g.status.Signaled() && g.status.Signal() == unix.SIGKILL {
			pause = 0
		}
		time.Sleep(pause) //nolint:forbidigo // a program that cannot work must not take the whole processor
		pause = min(max(2*pause, shortest), longest)
	}
}

func words(s unix.WaitStatus) string {
	if s.Signaled() {
		return "signal " + strconv.Itoa(int(s.Signal()))
	}
	return "exit code " + strconv.Itoa(s.ExitStatus())
}

// start starts a monitor and tells it what was kept.
func (g *guardian) start() error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "guardian")
	defer theirs.Close()
	path := "/proc/self/exe"
	if fd, ok := g.kept[programKey]; ok {
		path = "/proc/self/fd/" + strconv.Itoa(fd)
	}
	cmd := &exec.Cmd{
		Path: path,
		Args: append([]string{"hoy-run", "monitor", "--listen-fd", strconv.Itoa(ListenFD), "--guard-fd", strconv.Itoa(SocketFD)}, g.opt.Args...),
		Dir:  "/", Stderr: os.Stderr, ExtraFiles: []*os.File{g.opt.Listener, theirs},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := cmd.Start(); err != nil {
		_ = unix.Close(pair[0])
		return err
	}
	g.socket, g.monitor, g.dead, g.reaping = pair[0], cmd.Process.Pid, false, false
	_ = cmd.Process.Release()
	if err := g.tell(); err != nil {
		g.opt.Log.Error("a monitor was not told what it holds", "error", err)
	}
	return nil
}

// tell hands over what is kept. A monitor that is gone already shows elsewhere.
func (g *guardian) tell() error {
	keys := make([]string, 0, len(g.kept))
	for key := range g.kept {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	for len(keys) > 0 {
		part := keys[:min(len(keys), maxFiles)]
		keys = keys[len(part):]
		fds := make([]int, len(part))
		for i, key := range part {
			fds[i] = g.kept[key]
		}
		if err := send(g.socket, 0, fds, append([]string{"have"}, part...)...); err != nil {
			return err
		}
	}
	return send(g.socket, 0, nil, "ready")
}

// attend listens to the monitor until it has ended; true means in order.
func (g *guardian) attend(died <-chan os.Signal) bool {
	messages := make(chan *message, 1)
	go listen(g.socket, messages)
	defer func() {
		_ = unix.Close(g.socket)
		g.socket = -1
	}()
	for {
		select {
		case m, ok := <-messages:
			if ok {
				if g.handle(m) {
					return true
				}
				continue
			}
			g.bury()
			return g.status.Exited() && g.status.ExitStatus() == 0
		case <-died:
			g.reap()
		}
		if g.dead {
			// What it has sent is read first; a child that it was making may have the other end still.
			_ = unix.Shutdown(g.socket, unix.SHUT_RDWR)
		}
	}
}

func listen(fd int, messages chan<- *message) {
	defer close(messages)
	buf := make([]byte, maxMessage)
	for {
		m, err := receive(fd, 0, buf)
		if err != nil {
			return
		}
		messages <- m
	}
}

// handle does what a message says; true is the end.
func (g *guardian) handle(m *message) bool {
	defer m.close()
	switch m.verb() {
	case "keep":
		g.ready = true
		for i, key := range m.words[1:] {
			if i >= len(m.fds) {
				break
			}
			g.close(key)
			g.kept[key] = m.fds[i]
		}
		m.fds = m.fds[min(len(m.fds), len(m.words)-1):]
	case "drop":
		g.drop(m.words[1:])
	case "await":
		for _, word := range m.words[1:] {
			if p, err := parseProcess(word); err == nil {
				g.await(p)
			}
		}
	case "reap":
		g.ready, g.reaping = true, true
		g.reap()
	case "done":
		for _, word := range m.words[1:] {
			if p, err := parseProcess(word); err == nil {
				delete(g.ended, p)
			}
		}
	case "bye":
		return true
	}
	return false
}

func (g *guardian) close(key string) {
	if fd, ok := g.kept[key]; ok {
		_ = unix.Close(fd)
		delete(g.kept, key)
	}
}

func (g *guardian) drop(keys []string) {
	for _, key := range keys {
		g.close(key)
		for _, part := range Parts {
			g.close(key + "/" + part)
		}
	}
}

// await begins to remember a process; one that has ended is told again.
func (g *guardian) await(p Process) {
	if status, ok := g.ended[p]; ok {
		g.end(p, status)
		return
	}
	g.awaited[p.Pid] = p
}

func (g *guardian) end(p Process, status unix.WaitStatus) {
	_ = send(g.socket, unix.MSG_DONTWAIT, nil, "end", p.String(), strconv.Itoa(int(status)))
}

// reap collects dead children: the monitor at any time, others when it is known
// who of them is awaited. Until then they are zombies, which keep their status.
func (g *guardian) reap() {
	for {
		who := -1
		if !g.reaping {
			if g.dead {
				return
			}
			who = g.monitor
		}
		var status unix.WaitStatus
		pid, err := unix.Wait4(who, &status, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if pid == g.monitor {
			// Those that it was the parent of are the next one's to await.
			g.dead, g.status, g.reaping = true, status, false
			return
		}
		p, ok := g.awaited[pid]
		if !ok {
			continue
		}
		delete(g.awaited, pid)
		g.ended[p] = status
		g.end(p, status)
	}
}

// bury waits for the monitor, whose connection has ended.
func (g *guardian) bury() {
	for !g.dead {
		_, err := unix.Wait4(g.monitor, &g.status, 0, nil)
		g.dead = !errors.Is(err, unix.EINTR)
	}
}

// Key is under which a part of a process is kept.
func Key(name, part string) string { return name + "/" + part }

// Parts are what is kept of a process.
var Parts = []string{Stdin, Stdout, Stderr, PidFD}

// The parts: its streams as the monitor has them, and its pidfd. A terminal is Stdout.
const (
	Stdin  = "0"
	Stdout = "1"
	Stderr = "2"
	PidFD  = "pid"
)

// split is the opposite of Key.
func split(key string) (name, part string) {
	name, part, _ = strings.Cut(key, "/")
	return name, part
}
