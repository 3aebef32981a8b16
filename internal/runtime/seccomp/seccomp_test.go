package seccomp

import (
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/seccomp/table"
)

const (
	auditX86_64 = 0xc000003e
	auditX86    = 0x40000003
	allow       = uint32(unix.SECCOMP_RET_ALLOW)
	eperm       = uint32(unix.SECCOMP_RET_ERRNO) | uint32(unix.EPERM)
	enosys      = uint32(unix.SECCOMP_RET_ERRNO) | uint32(unix.ENOSYS)
)

// vm interprets a compiled filter. It reads words in network order, so the data
// is laid out in that order, too.
type vm struct {
	*bpf.VM
	tb   testing.TB
	size int
}

func newVM(tb testing.TB, s *specs.LinuxSeccomp) vm {
	tb.Helper()
	raw, err := Compile(s)
	if err != nil {
		tb.Fatal(err)
	}
	var insns []bpf.Instruction
	for ; len(raw) > 0; raw = raw[8:] {
		insns = append(insns, bpf.RawInstruction{
			Op: binary.NativeEndian.Uint16(raw), Jt: raw[2], Jf: raw[3], K: binary.NativeEndian.Uint32(raw[4:]),
		}.Disassemble())
	}
	v, err := bpf.NewVM(insns)
	if err != nil {
		tb.Fatal(err)
	}
	return vm{v, tb, len(insns)}
}

func (v vm) run(audit, nr uint32, args ...uint64) uint32 {
	data := make([]byte, 64)
	binary.BigEndian.PutUint32(data[offNumber:], nr)
	binary.BigEndian.PutUint32(data[offArch:], audit)
	for i, a := range args {
		binary.BigEndian.PutUint32(data[offArgs+8*i:], uint32(a))
		binary.BigEndian.PutUint32(data[offArgs+8*i+4:], uint32(a>>32))
	}
	ret, err := v.Run(data)
	if err != nil {
		v.tb.Fatal(err)
	}
	return uint32(ret)
}

var dockerCaps = []string{"CAP_CHOWN", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SYS_CHROOT", "CAP_KILL"}

func TestDefaultProfile(t *testing.T) {
	s, err := Default(dockerCaps)
	if err != nil {
		t.Fatal(err)
	}
	v := newVM(t, s)
	t.Logf("%d instructions", v.size)
	amd64, _ := table.For(specs.ArchX86_64)
	i386, _ := table.For(specs.ArchX86)
	n, m := amd64.Numbers, i386.Numbers
	for _, c := range []struct {
		what  string
		audit uint32
		nr    uint32
		args  []uint64
		want  uint32
	}{
		{"read", auditX86_64, n["read"], nil, allow},
		{"chroot with its capability", auditX86_64, n["chroot"], nil, allow},
		{"mount", auditX86_64, n["mount"], nil, eperm},
		{"bpf", auditX86_64, n["bpf"], nil, eperm},
		{"reboot", auditX86_64, n["reboot"], nil, eperm},
		{"clone of a thread", auditX86_64, n["clone"], []uint64{unix.CLONE_VM | unix.CLONE_THREAD}, allow},
		{"clone of a user namespace", auditX86_64, n["clone"], []uint64{unix.CLONE_NEWUSER | uint64(unix.SIGCHLD)}, eperm},
		{"clone3 must seem unknown", auditX86_64, n["clone3"], nil, enosys},
		{"personality(0)", auditX86_64, n["personality"], []uint64{0}, allow},
		{"personality(0xffffffff)", auditX86_64, n["personality"], []uint64{0xffffffff}, allow},
		{"personality(READ_IMPLIES_EXEC)", auditX86_64, n["personality"], []uint64{0x400000}, eperm},
		{"personality with high bits", auditX86_64, n["personality"], []uint64{1 << 40}, eperm},
		{"socket AF_INET", auditX86_64, n["socket"], []uint64{unix.AF_INET}, allow},
		{"socket AF_VSOCK", auditX86_64, n["socket"], []uint64{unix.AF_VSOCK}, eperm},
		{"a call of the future", auditX86_64, 9999, nil, enosys},
		{"32-bit read", auditX86, m["read"], nil, allow},
		{"32-bit mount", auditX86, m["mount"], nil, eperm},
		{"x32 read", auditX86_64, n["read"] | table.X32, nil, allow},
		{"x32 mount", auditX86_64, n["mount"] | table.X32, nil, eperm},
		{"an unknown architecture", 0x12345678, n["read"], nil, uint32(unix.SECCOMP_RET_KILL_PROCESS)},
	} {
		if got := v.run(c.audit, c.nr, c.args...); got != c.want {
			t.Errorf("%s: %#x, want %#x", c.what, got, c.want)
		}
	}
	admin, err := Default(append(dockerCaps, "CAP_SYS_ADMIN"))
	if err != nil {
		t.Fatal(err)
	}
	if got := newVM(t, admin).run(auditX86_64, n["mount"]); got != allow {
		t.Errorf("mount with CAP_SYS_ADMIN: %#x", got)
	}
}

// TestActions tries every action, and that others have no x32 way around.
func TestActions(t *testing.T) {
	for a, want := range map[specs.LinuxSeccompAction]uint32{
		specs.ActAllow: allow, specs.ActKill: unix.SECCOMP_RET_KILL_THREAD, specs.ActKillThread: unix.SECCOMP_RET_KILL_THREAD,
		specs.ActKillProcess: unix.SECCOMP_RET_KILL_PROCESS, specs.ActTrap: unix.SECCOMP_RET_TRAP, specs.ActLog: unix.SECCOMP_RET_LOG,
		specs.ActErrno: unix.SECCOMP_RET_ERRNO | 42, specs.ActTrace: unix.SECCOMP_RET_TRACE | 42,
	} {
		errno := uint(42)
		s := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"getpid", "no_such_call"}, Action: a, ErrnoRet: &errno}}}
		v := newVM(t, s)
		if got := v.run(auditX86_64, unix.SYS_GETPID); got != want {
			t.Errorf("%s: %#x, want %#x", a, got, want)
		}
		if got := v.run(auditX86_64, unix.SYS_GETPPID); got != allow {
			t.Errorf("%s: another call: %#x", a, got)
		}
		if got := v.run(auditX86_64, unix.SYS_GETPID|table.X32); got == allow {
			t.Errorf("%s: x32 is a way around", a)
		}
	}
}

func TestRefusals(t *testing.T) {
	big := uint(1 << 20)
	for what, s := range map[string]*specs.LinuxSeccomp{
		"unknown action": {DefaultAction: "SCMP_ACT_DANCE"},
		"architecture":   {DefaultAction: specs.ActAllow, Architectures: []specs.Arch{"SCMP_ARCH_PDP11"}},
		"errno":          {DefaultAction: specs.ActErrno, DefaultErrnoRet: &big},
		"operator": {DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActErrno,
			Args: []specs.LinuxSeccompArg{{Index: 1, Op: "SCMP_CMP_LIKE"}}}}},
		"index": {DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActErrno,
			Args: []specs.LinuxSeccompArg{{Index: 6, Op: specs.OpEqualTo}}}}},
	} {
		if _, err := Compile(s); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := Compile(&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: []specs.Arch{specs.ArchS390}}); err == nil || !strings.Contains(err.Error(), "SCMP_ARCH_S390 are not known") {
		t.Errorf("an architecture without a table: %v", err)
	}
	for what, s := range map[string]*specs.LinuxSeccomp{
		"unknown flag":             {Flags: []specs.LinuxSeccompFlag{"SECCOMP_FILTER_FLAG_X"}},
		"needs a call with action": {Flags: []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagWaitKillableRecv}},
		"needs a listenerPath":     {DefaultAction: specs.ActNotify},
		"without a listenerPath":   {ListenerMetadata: "x"},
	} {
		_, err := Flags(s)
		if err == nil {
			_, err = Listens(s)
		}
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for want, flags := range map[uint32][]specs.LinuxSeccompFlag{
		unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW: nil, 0: {}, unix.SECCOMP_FILTER_FLAG_LOG: {specs.LinuxSeccompFlagLog, tsync},
	} {
		if got, err := Flags(&specs.LinuxSeccomp{Flags: flags}); got != want || err != nil {
			t.Errorf("flags %v: %#x, %v", flags, got, err)
		}
	}
	if _, err := Parse("{", nil); !errdefs.IsInvalidArgument(err) {
		t.Errorf("broken profile: %v", err)
	}
}

// holds is what a condition means, written down plainly.
func holds(a specs.LinuxSeccompArg, x uint64) bool {
	switch a.Op {
	case specs.OpEqualTo:
		return x == a.Value
	case specs.OpNotEqual:
		return x != a.Value
	case specs.OpGreaterThan:
		return x > a.Value
	case specs.OpGreaterEqual:
		return x >= a.Value
	case specs.OpLessThan:
		return x < a.Value
	case specs.OpLessEqual:
		return x <= a.Value
	default:
		return x&a.Value == a.ValueTwo
	}
}

// TestConditions compares compiled conditions with their plain meaning over
// values near each other in either half.
func TestConditions(t *testing.T) {
	ops := []specs.LinuxSeccompOperator{specs.OpEqualTo, specs.OpNotEqual, specs.OpGreaterThan, specs.OpGreaterEqual,
		specs.OpLessThan, specs.OpLessEqual, specs.OpMaskedEqual}
	r := rand.New(rand.NewPCG(1, 2))
	pick := func() uint64 {
		parts := []uint64{0, 1, 2, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff}
		return parts[r.IntN(len(parts))]<<32 | parts[r.IntN(len(parts))]
	}
	for range 300 {
		var args []specs.LinuxSeccompArg
		for i := range 1 + r.IntN(6) {
			args = append(args, specs.LinuxSeccompArg{Index: uint(i), Value: pick(), ValueTwo: pick(), Op: ops[r.IntN(len(ops))]})
		}
		v := newVM(t, &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{
			{Names: []string{"read"}, Action: specs.ActAllow, Args: args}, {Names: []string{"write"}, Action: specs.ActAllow},
		}})
		for range 50 {
			values := make([]uint64, 6)
			want := allow
			for i := range values {
				values[i] = pick()
				if i < len(args) && r.IntN(2) == 0 {
					values[i] = args[i].Value
				}
				if i < len(args) && !holds(args[i], values[i]) {
					want = eperm
				}
			}
			if got := v.run(auditX86_64, unix.SYS_READ, values...); got != want {
				t.Fatalf("%+v with %#x: %#x, want %#x", args, values, got, want)
			}
		}
	}
}

// TestEveryNumber compares the tree with a plain list, call by call.
func TestEveryNumber(t *testing.T) {
	amd64, _ := table.For(specs.ArchX86_64)
	r := rand.New(rand.NewPCG(3, 4))
	s := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno}
	want := map[uint32]uint32{}
	last := uint32(0)
	for name, n := range amd64.Numbers {
		if r.IntN(3) == 0 {
			continue
		}
		errno := uint(r.IntN(3) + 10)
		s.Syscalls = append(s.Syscalls, specs.LinuxSyscall{Names: []string{name}, Action: specs.ActErrno, ErrnoRet: &errno})
		want[n] = unix.SECCOMP_RET_ERRNO | uint32(errno)
		last = max(last, n)
	}
	v := newVM(t, s)
	for n := range uint32(600) {
		w, ok := want[n]
		if !ok {
			w = eperm
			if n > last {
				w = enosys
			}
		}
		if got := v.run(auditX86_64, n); got != w {
			t.Errorf("call %d: %#x, want %#x", n, got, w)
		}
	}
}

func BenchmarkCompileDefault(b *testing.B) {
	s, err := Default(dockerCaps)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := assemble(s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompileCached(b *testing.B) {
	s, err := Default(dockerCaps)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Compile(s); err != nil {
			b.Fatal(err)
		}
	}
}
