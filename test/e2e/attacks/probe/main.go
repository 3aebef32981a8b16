// Command probe is what an attacker would run inside a container. It reports
// on standard output; the tests read that.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) < 2 {
		os.Exit(2)
	}
	switch os.Args[1] {
	case "spy":
		spy()
	case "tracer":
		tracer(os.Args[2:])
	case "calls":
		calls()
	case "swap":
		swap(os.Args[2], append(os.Args[3:], "x", "link"))
	case "hog":
		hog()
	case "forks":
		forks()
	case "stop":
		stop()
	case "ids":
		real, effective, saved := unix.Getresuid()
		fmt.Println(real, effective, saved)
	}
}

// swap exchanges two names in dir, by default the directory x and the link
// link, as fast as it goes.
func swap(dir string, names []string) {
	_ = os.MkdirAll(filepath.Join(dir, "x"), 0o755)
	one, other := filepath.Join(dir, names[0]), filepath.Join(dir, names[1])
	fmt.Println("ready")
	for {
		_ = unix.Renameat2(unix.AT_FDCWD, one, unix.AT_FDCWD, other, unix.RENAME_EXCHANGE)
	}
}

// hog takes memory until it is killed.
func hog() {
	var all [][]byte
	for {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		all = append(all, b)
		if len(all) > 4096 {
			os.Exit(9)
		}
	}
}

// forks starts processes until it is refused, and says so.
func forks() {
	n := 0
	for {
		_, err := os.StartProcess("/bin/sleep", []string{"sleep", "1000"}, &os.ProcAttr{})
		if err != nil {
			fmt.Println("refused after", n, err)
			break
		}
		n++
	}
	wait()
}

// stop stops every process that comes into the container.
func stop() {
	fmt.Println("ready")
	watch(func(pid int) { _ = unix.Kill(pid, unix.SIGSTOP) })
}

func wait() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	<-c
}

// watch calls f again and again for each process but this one and its own, in
// the first moments of each.
func watch(f func(pid int)) {
	self := os.Getpid()
	next := self + 1
	for {
		for pid := next; pid < next+64; pid++ {
			if unix.Kill(pid, 0) != nil {
				continue
			}
			if own(pid) {
				continue
			}
			end := time.Now().Add(3 * time.Millisecond)
			for time.Now().Before(end) {
				f(pid)
			}
			next = pid + 1
		}
	}
}

// own says whether pid is a thread of this process.
func own(pid int) bool {
	_, err := os.Lstat(fmt.Sprintf("/proc/self/task/%d", pid))
	return err == nil
}
