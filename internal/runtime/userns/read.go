package userns

import (
	"errors"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"hoy/internal/runtime/program"
)

// mapReads of a page each read the largest map that there can be: 340 lines of
// three numbers of ten digits.
const mapReads = 4

// ReadOf reads the id maps of a user namespace. Only a process inside shows
// them, so a child goes in and reads its own.
func ReadOf(ns *os.File) (m Map, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return m, err
	}
	defer r.Close()
	p := program.New(false)
	defer p.Close()
	p.Step("read id maps of user namespace", "")
	proc, out := p.FD("proc"), p.Given("out", w.Fd())
	p.Call(unix.SYS_OPENAT, program.CWD(), program.Str("/proc"), program.Num(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)).Into(proc)
	p.Fork()
	p.Call(unix.SYS_PRCTL, program.Num(unix.PR_SET_DUMPABLE), program.Num(0))
	p.Call(unix.SYS_SETNS, program.R(p.Given("userns", ns.Fd())), program.Num(unix.CLONE_NEWUSER))
	buf := new([4096]byte)
	for _, file := range []string{"self/uid_map", "self/gid_map"} {
		fd, n := p.FD("map"), p.Given("n", 0)
		p.Call(unix.SYS_OPENAT, program.R(proc), program.Str(file), program.Num(unix.O_RDONLY|unix.O_CLOEXEC)).Into(fd)
		for range mapReads {
			p.Call(unix.SYS_READ, program.R(fd), program.Mem(&buf[0], "buf"), program.Num(len(buf))).Into(n)
			p.Call(unix.SYS_WRITE, program.R(out), program.Mem(&buf[0], "buf"), program.R(n))
		}
		p.Call(unix.SYS_WRITE, program.R(out), program.Str("\n"), program.Num(1))
	}
	p.Fail(unix.ECANCELED) // all is said
	err = runToEnd(p)
	_ = w.Close()
	if err != nil {
		return m, err
	}
	text, err := io.ReadAll(r)
	if err != nil {
		return m, err
	}
	first, second, _ := strings.Cut(string(text), "\n\n")
	if m.UIDs, err = Parse(first); err == nil {
		m.GIDs, err = Parse(second)
	}
	return m, err
}

// runToEnd runs a program whose child ends with ECANCELED.
func runToEnd(p *program.Program) error {
	if err := p.Prepare(); err != nil {
		return err
	}
	child, err := p.Start(0, -1)
	if err != nil {
		return err
	}
	if err = child.Exec(); errors.Is(err, unix.ECANCELED) {
		return nil
	}
	return err
}
