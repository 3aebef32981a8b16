package userns

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"hoy/internal/runtime/program"
)

// Of opens the user namespace of a process and reads its map; nil is the
// caller's own.
func Of(pid int) (*os.File, Map, error) {
	path := fmt.Sprintf("/proc/%d/ns/user", pid)
	f, err := os.Open(path)
	if err != nil {
		return nil, Map{}, fmt.Errorf("user namespace: %w", err)
	}
	own, err := os.Stat("/proc/self/ns/user")
	if err == nil {
		var st os.FileInfo
		if st, err = f.Stat(); err == nil && os.SameFile(own, st) {
			return nil, Map{}, f.Close()
		}
	}
	var m Map
	if err == nil {
		m, err = Read(pid)
	}
	if err == nil {
		// The number could have come to mean another process meanwhile.
		var again *os.File
		if again, err = os.Open(path); err == nil {
			if !Equal(f, again) {
				err = fmt.Errorf("process %d has ended", pid)
			}
			_ = again.Close()
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, Map{}, fmt.Errorf("user namespace: %w", err)
	}
	return f, m, nil
}

// Equal says whether two open namespaces are one.
func Equal(a, b *os.File) bool {
	x, errX := a.Stat()
	y, errY := b.Stat()
	return errX == nil && errY == nil && os.SameFile(x, y)
}

// Net makes a network namespace that belongs to an existing user namespace.
func Net(user *os.File) (*os.File, error) {
	p := program.New(false)
	defer p.Close()
	fd := p.Given("user namespace", user.Fd())
	p.Fork()
	p.Step("join user namespace", "")
	p.Call(unix.SYS_SETNS, program.R(fd), program.Flag(unix.CLONE_NEWUSER, "CLONE_NEWUSER"))
	p.Step("make network namespace", "")
	p.Call(unix.SYS_UNSHARE, program.Flag(unix.CLONE_NEWNET, "CLONE_NEWNET"))
	p.Pause()
	child, err := start(p, 0)
	if err == nil {
		if err = child.Paused(); err == nil {
			defer child.Kill()
			return os.Open(fmt.Sprintf("/proc/%d/ns/net", child.Pid))
		}
	}
	return nil, fmt.Errorf("make network namespace: %w", err)
}
