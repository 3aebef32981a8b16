package program

import (
	"errors"
	"os"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// build makes a program whose child ends with exit code 0 where it gets that far.
func build(first, second func(p *Program)) *Program {
	p := New(false)
	p.Step("first", "")
	if first != nil {
		first(p)
	}
	p.Fork()
	p.Step("second", "")
	if second != nil {
		second(p)
	}
	p.Step("exit", "")
	p.Call(unix.SYS_EXIT_GROUP, Num(0))
	return p
}

func run1(t *testing.T, p *Program) error {
	t.Helper()
	defer p.Close()
	if err := p.Prepare(); err != nil {
		return err
	}
	c, err := p.Start(0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Exec(); err != nil {
		return err
	}
	c.reap()
	return nil
}

// cases are instructions that must behave alike in both parts.
var cases = []struct {
	what string
	ops  func(p *Program)
	want unix.Errno
}{
	{"success", func(p *Program) { p.Call(unix.SYS_GETPID) }, 0},
	{"failure", func(p *Program) { p.Call(unix.SYS_CLOSE, Num(-1)) }, unix.EBADF},
	{"tolerated by name", func(p *Program) { p.Call(unix.SYS_CLOSE, Num(-1)).Tolerate(unix.ENOENT, unix.EBADF) }, 0},
	{"tolerated altogether", func(p *Program) { p.Call(unix.SYS_CLOSE, Num(-1)).Tolerate() }, 0},
	{"another errno is not tolerated", func(p *Program) { p.Call(unix.SYS_CLOSE, Num(-1)).Tolerate(unix.ENOENT) }, unix.EBADF},
	{"fail", func(p *Program) { p.Fail(unix.EISDIR) }, unix.EISDIR},
	{"jump on success", func(p *Program) {
		l := p.Label()
		p.Call(unix.SYS_GETPID).OK(l)
		p.Fail(unix.EIO)
		p.Here(l)
	}, 0},
	{"no jump on failure", func(p *Program) {
		l := p.Label()
		p.Call(unix.SYS_CLOSE, Num(-1)).OK(l).Tolerate()
		p.Fail(unix.EIO)
		p.Here(l)
	}, unix.EIO},
	{"register from call to call", func(p *Program) {
		r := p.FD("null")
		p.Call(unix.SYS_OPENAT, CWD(), Str("/dev/null"), Num(unix.O_RDWR|unix.O_CLOEXEC)).Into(r)
		p.Call(unix.SYS_WRITE, R(r), Str("x"), Num(1))
	}, 0},
	{"register that is set", func(p *Program) {
		r := p.Given("path", 0)
		p.Set(r, Str("/no/such/file"))
		p.Call(unix.SYS_OPENAT, CWD(), R(r), Num(unix.O_RDONLY))
	}, unix.ENOENT},
	{"check that holds", func(p *Program) {
		fs := new(unix.Statfs_t)
		p.Call(unix.SYS_STATFS, Str("/proc"), Mem(fs, "fs"))
		p.Check("procfs", (*uint64)(unsafe.Pointer(&fs.Type)), ^uint64(0), unix.PROC_SUPER_MAGIC, unix.EXDEV)
	}, 0},
	{"check that does not", func(p *Program) {
		p.Check("zero", new(uint64), 0xff, 1, unix.EXDEV)
	}, unix.EXDEV},
}

func TestBothParts(t *testing.T) {
	for _, c := range cases {
		for part, p := range map[string]*Program{"first": build(c.ops, nil), "second": build(nil, c.ops)} {
			err := run1(t, p)
			if c.want == 0 {
				if err != nil {
					t.Errorf("%s, %s part: %v", c.what, part, err)
				}
				continue
			}
			f, ok := errors.AsType[*Fault](err)
			if !ok || f.Errno != c.want || f.Step != part {
				t.Errorf("%s, %s part: %v, want %v", c.what, part, err, c.want)
			}
		}
	}
	if _, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != unix.ECHILD {
		t.Errorf("a child is left: %v", err)
	}
}

func TestWait(t *testing.T) {
	p := build(nil, (*Program).Wait)
	defer p.Close()
	if err := p.Prepare(); err != nil {
		t.Fatal(err)
	}
	c, err := p.Start(0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if got := unix.Waitid(unix.P_PIDFD, c.PidFD, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); got != nil {
		t.Error(got)
	}
	if err := c.Continue(); err != nil {
		t.Fatal(err)
	}
	if err := c.Exec(); err != nil {
		t.Fatal(err)
	}
	c.reap()
	p = build(nil, (*Program).Wait)
	defer p.Close()
	if err := p.Prepare(); err != nil {
		t.Fatal(err)
	}
	if c, err = p.Start(0, -1); err != nil {
		t.Fatal(err)
	}
	c.Kill()
	if c.PidFD != -1 {
		t.Error("not reaped")
	}
}

func TestDescriptorsAreClosed(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	open := func(p *Program) {
		p.Call(unix.SYS_OPENAT, CWD(), Str("/dev/null"), Num(unix.O_RDWR|unix.O_CLOEXEC)).Into(p.FD("a"))
		p.Call(unix.SYS_OPENAT, CWD(), Str("/dev/null"), Num(unix.O_RDWR|unix.O_CLOEXEC)).Into(p.FD("b"))
	}
	before := count()
	if err := run1(t, build(open, func(p *Program) { p.Fail(unix.EIO) })); !errors.Is(err, unix.EIO) {
		t.Error(err)
	}
	if err := run1(t, build(func(p *Program) { open(p); p.Fail(unix.EIO) }, nil)); !errors.Is(err, unix.EIO) {
		t.Error(err)
	}
	if after := count(); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func TestBackwardJumpIsRefused(t *testing.T) {
	p := New(false)
	p.Step("loop", "")
	l := p.Label()
	p.Here(l)
	p.Call(unix.SYS_GETPID).OK(l)
	if err := p.Prepare(); err == nil || !strings.Contains(err.Error(), "jumps to") {
		t.Error(err)
	}
	p = New(false)
	p.Step("nowhere", "")
	p.Call(unix.SYS_GETPID).OK(p.Label())
	if err := p.Prepare(); err == nil {
		t.Error("a label that was never placed")
	}
}

func TestText(t *testing.T) {
	p := New(true)
	p.Step("open", "/dev/null")
	r, l := p.FD("null"), p.Label()
	p.Call(unix.SYS_OPENAT, CWD(), Str("/dev/null"), Flag(unix.O_RDWR, "O_RDWR")).Into(r).OK(l).Tolerate(unix.ENOENT)
	p.Here(l)
	p.Fork()
	p.Call(unix.SYS_WRITE, R(r), Str("a\"b"), Num(3))
	p.Call(9999, Num(-1))
	const want = "parent:\n  open /dev/null\n    0 openat(AT_FDCWD, \"/dev/null\", O_RDWR) -> null [ok: 1] [ENOENT: 1]\n" +
		"child:\n  open /dev/null\n    1 write(null, \"a\\\"b\", 3)\n    2 syscall_9999(-1)\n"
	if got := p.String(); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if err := p.Prepare(); err == nil {
		t.Error("a program for text ran")
	}
}
