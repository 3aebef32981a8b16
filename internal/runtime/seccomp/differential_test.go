package seccomp

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/net/bpf"

	"hoy/internal/runtime/seccomp/table"
)

// reference is libseccomp behind a pipe.
type reference struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Reader
}

func newReference(t *testing.T) *reference {
	t.Helper()
	if _, err := os.Stat("/usr/include/seccomp.h"); err != nil {
		t.Skip("libseccomp's header is not there; the packages gcc, libc6-dev and libseccomp-dev have what is needed")
	}
	bin := filepath.Join(t.TempDir(), "reference")
	out, err := exec.CommandContext(t.Context(), "gcc", "-O1", "-o", bin, "testdata/reference.c", "-lseccomp").CombinedOutput()
	if err != nil {
		t.Skipf("gcc and libseccomp-dev are needed: %v: %s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), bin)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	return &reference{t, in, bufio.NewReader(stdout)}
}

var scmpArch = map[specs.Arch]string{
	specs.ArchX86_64: "x86_64", specs.ArchX86: "x86", specs.ArchX32: "x32", specs.ArchARM: "arm", specs.ArchAARCH64: "aarch64",
	specs.ArchRISCV64: "riscv64", specs.ArchS390X: "s390x", specs.ArchPPC: "ppc", specs.ArchPPC64: "ppc64", specs.ArchPPC64LE: "ppc64le",
	specs.ArchMIPS: "mips", specs.ArchMIPSEL: "mipsel", specs.ArchMIPS64: "mips64", specs.ArchMIPSEL64: "mipsel64",
}

// The numbers of enum scmp_compare in seccomp.h.
var scmpOps = map[specs.LinuxSeccompOperator]int{
	specs.OpNotEqual: 1, specs.OpLessThan: 2, specs.OpLessEqual: 3, specs.OpEqualTo: 4, specs.OpGreaterEqual: 5, specs.OpGreaterThan: 6, specs.OpMaskedEqual: 7,
}

func (r *reference) numbers(arch specs.Arch, names []string) map[string]int {
	r.t.Helper()
	_, _ = fmt.Fprintf(r.in, "numbers %s %s\n", scmpArch[arch], strings.Join(names, " "))
	line, err := r.out.ReadString('\n')
	if err != nil {
		r.t.Fatal(err)
	}
	m := map[string]int{}
	for i, word := range strings.Fields(line) {
		m[names[i]], _ = strconv.Atoi(word)
	}
	return m
}

// compile makes the program of s as runc has libseccomp make it.
func (r *reference) compile(s *specs.LinuxSeccomp) machine {
	r.t.Helper()
	def, err := action(s.DefaultAction, s.DefaultErrnoRet)
	if err != nil {
		r.t.Fatal(err)
	}
	_, _ = fmt.Fprintf(r.in, "begin %d\n", def)
	for _, a := range s.Architectures {
		_, _ = fmt.Fprintf(r.in, "arch %s\n", scmpArch[a])
	}
	for _, call := range s.Syscalls {
		ret, err := action(call.Action, call.ErrnoRet)
		if err != nil {
			r.t.Fatal(err)
		}
		if ret == def {
			continue // as runc does: libseccomp refuses it
		}
		sets, err := alternatives(call.Args)
		if err != nil {
			r.t.Fatal(err)
		}
		if len(sets) == 0 {
			sets = append(sets, nil)
		}
		for _, name := range call.Names {
			for _, set := range sets {
				_, _ = fmt.Fprintf(r.in, "rule %d %s", ret, name)
				for _, a := range set {
					_, _ = fmt.Fprintf(r.in, " %d %d %d %d", a.Index, scmpOps[a.Op], a.Value, a.ValueTwo)
				}
				_, _ = fmt.Fprintln(r.in)
			}
		}
	}
	_, _ = fmt.Fprintln(r.in, "end")
	line, err := r.out.ReadString('\n')
	if err != nil {
		r.t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || n <= 0 {
		r.t.Fatalf("libseccomp answers %q", line)
	}
	raw := make([]byte, n)
	if _, err := io.ReadFull(r.out, raw); err != nil {
		r.t.Fatal(err)
	}
	return newMachine(r.t, raw)
}

// machine interprets a filter.
type machine struct {
	vm   *bpf.VM
	t    testing.TB
	size int
}

func newMachine(t testing.TB, raw []byte) machine {
	t.Helper()
	m := machine{t: t, size: len(raw) / 8}
	var insns []bpf.Instruction
	for ; len(raw) > 0; raw = raw[8:] {
		insns = append(insns, bpf.RawInstruction{
			Op: binary.NativeEndian.Uint16(raw), Jt: raw[2], Jf: raw[3], K: binary.NativeEndian.Uint32(raw[4:]),
		}.Disassemble())
	}
	var err error
	if m.vm, err = bpf.NewVM(insns); err != nil {
		t.Fatal(err)
	}
	return m
}

// run gives the verdict; the interpreter reads words in network order.
func (m machine) run(arch table.Arch, nr uint32, args [6]uint64) uint32 {
	var data [64]byte
	binary.BigEndian.PutUint32(data[offNumber:], nr)
	binary.BigEndian.PutUint32(data[offArch:], arch.Audit)
	for i, a := range args {
		low, high := offArgs+8*i, offArgs+8*i+4
		if arch.Big {
			low, high = high, low
		}
		binary.BigEndian.PutUint32(data[low:], uint32(a))
		binary.BigEndian.PutUint32(data[high:], uint32(a>>32))
	}
	ret, err := m.vm.Run(data[:])
	if err != nil {
		m.t.Fatal(err)
	}
	return uint32(ret)
}

// TestTablesAgreeWithLibseccomp compares every number that both know.
func TestTablesAgreeWithLibseccomp(t *testing.T) {
	r := newReference(t)
	for arch := range scmpArch {
		own, ok := table.For(arch)
		if !ok {
			t.Errorf("%s: no numbers", arch)
			continue
		}
		names := slices.Sorted(maps.Keys(own.Numbers))
		compared := 0
		for name, n := range r.numbers(arch, names) {
			if n >= 0 && uint32(n) != own.Numbers[name] {
				t.Errorf("%s: %s is %d, libseccomp says %d", arch, name, own.Numbers[name], n)
			}
			if n >= 0 {
				compared++
			}
		}
		t.Logf("%s: %d of %d numbers compared", arch, compared, len(names))
		if compared < 250 {
			t.Errorf("%s: only %d numbers were compared", arch, compared)
		}
	}
}

// TestVerdictsAgreeWithLibseccomp runs the filters of both compilers over every
// system call, with arguments at the edges of what the rules ask for.
//
// Where they differ by intent, and are not compared:
//   - a call above all that the profile names: libseccomp gives the default
//     action, runc puts ENOSYS before it, and so do we;
//   - an unknown calling convention, x32 without its architecture included:
//     libseccomp kills the thread, we the process;
//   - several conditions of one call that hold at once and have different
//     actions: libseccomp sorts them its own way, the first of the profile
//     decides here.
func TestVerdictsAgreeWithLibseccomp(t *testing.T) {
	r := newReference(t)
	total := 0
	for name, s := range profilesToCompare(t) {
		raw, err := Compile(s)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		ours, theirs := newMachine(t, raw), r.compile(s)
		if ours.size > maxInsns {
			t.Errorf("%s: %d instructions", name, ours.size)
		}
		arches, err := targets(s)
		if err != nil {
			t.Fatal(err)
		}
		faults := 0
		for _, arch := range arches {
			total += compareOn(t, name, s, arch, r, ours, theirs, &faults)
		}
	}
	t.Logf("%d verdicts compared", total)
}

func compareOn(t *testing.T, name string, s *specs.LinuxSeccomp, arch table.Arch, r *reference, ours, theirs machine, faults *int) (n int) {
	t.Helper()
	_, last, err := byNumber(s, arch, 0)
	if err != nil {
		t.Fatal(err)
	}
	known := r.numbers(arch.Name, slices.Sorted(maps.Keys(arch.Numbers)))
	vectors := edges(s)
	for call, number := range known {
		if number < 0 || uint32(number) > last {
			continue
		}
		for _, args := range vectors {
			n++
			a, b := ours.run(arch, uint32(number), args), theirs.run(arch, uint32(number), args)
			if a != b && *faults < 5 {
				*faults++
				t.Errorf("%s on %s: %s(%#x): %#x, libseccomp says %#x", name, arch.Name, call, args, a, b)
			}
		}
	}
	return n
}

// edges are argument vectors around the values of a profile.
func edges(s *specs.LinuxSeccomp) [][6]uint64 {
	values := map[uint64]bool{0: true, ^uint64(0): true}
	for _, call := range s.Syscalls {
		for _, a := range call.Args {
			for _, v := range []uint64{a.Value, a.ValueTwo} {
				for _, w := range []uint64{v, v - 1, v + 1, v | 1<<32, v << 32, v ^ 0x80000000} {
					values[w] = true
				}
			}
		}
	}
	for i := uint64(0); i < 21; i++ {
		values[i] = true // what socketcall and ipc choose by
	}
	list := slices.Sorted(maps.Keys(values))
	if len(list) > 60 {
		list = list[:60]
	}
	var out [][6]uint64
	for i, v := range list {
		w, x := list[(i*7+3)%len(list)], list[(i*13+5)%len(list)]
		out = append(out, [6]uint64{v, v, v, v, v, v}, [6]uint64{v, w, x, v, w, x}, [6]uint64{w, x, v, x, v, w})
	}
	return out
}

var errno7 = uint(7)

func one(names string, a specs.LinuxSeccompAction, args ...specs.LinuxSeccompArg) specs.LinuxSyscall {
	return specs.LinuxSyscall{Names: strings.Fields(names), Action: a, ErrnoRet: &errno7, Args: args}
}

func arg(i uint, op specs.LinuxSeccompOperator, v ...uint64) specs.LinuxSeccompArg {
	a := specs.LinuxSeccompArg{Index: i, Op: op, Value: v[0]}
	if len(v) > 1 {
		a.ValueTwo = v[1]
	}
	return a
}

// profilesToCompare are Docker's default with several sets of capabilities, and
// profiles that each try one thing.
func profilesToCompare(t *testing.T) map[string]*specs.LinuxSeccomp {
	t.Helper()
	m := map[string]*specs.LinuxSeccomp{}
	for name, caps := range map[string][]string{"docker": dockerCaps, "docker with none": nil, "docker with admin": {"CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_BPF", "CAP_SYS_CHROOT"}} {
		s, err := Default(caps)
		if err != nil {
			t.Fatal(err)
		}
		m[name] = s
	}
	all := []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32, specs.ArchARM, specs.ArchAARCH64, specs.ArchRISCV64, specs.ArchPPC64LE, specs.ArchMIPSEL, specs.ArchMIPSEL64}
	add := func(name string, def specs.LinuxSeccompAction, arches []specs.Arch, calls ...specs.LinuxSyscall) {
		m[name] = &specs.LinuxSeccomp{DefaultAction: def, Architectures: arches, Syscalls: calls}
	}
	for _, a := range []specs.LinuxSeccompAction{specs.ActKill, specs.ActKillProcess, specs.ActKillThread, specs.ActTrap, specs.ActErrno, specs.ActTrace, specs.ActLog, specs.ActNotify} {
		add("some calls "+string(a), specs.ActAllow, nil, one("read write mount getpid futex", a))
		if a != specs.ActNotify {
			add("default "+string(a), a, all[:2], one("read write exit_group rt_sigreturn execve", specs.ActAllow))
		}
	}
	for op := range scmpOps {
		for _, v := range []uint64{0, 5, 0xffffffff, 1 << 32, 0x1234567890abcdef} {
			name := fmt.Sprintf("%s %#x", op, v)
			second := v & 0xff00ff00ff00ff
			add(name, specs.ActErrno, nil, one("ioctl", specs.ActAllow, arg(1, op, v, second)))
		}
		add(fmt.Sprintf("%s denied", op), specs.ActAllow, all[:3], one("prctl", specs.ActErrno, arg(0, op, 22, 22)))
	}
	add("two conditions", specs.ActErrno, nil, one("fcntl", specs.ActAllow, arg(1, specs.OpEqualTo, 4), arg(2, specs.OpMaskedEqual, 0x800, 0)))
	add("the same argument twice", specs.ActErrno, nil, one("fcntl", specs.ActAllow, arg(1, specs.OpEqualTo, 4), arg(1, specs.OpEqualTo, 3)))
	add("six conditions", specs.ActErrno, nil, one("mmap", specs.ActAllow, arg(0, specs.OpEqualTo, 0), arg(1, specs.OpLessEqual, 9), arg(2, specs.OpNotEqual, 7), arg(3, specs.OpEqualTo, 3), arg(4, specs.OpGreaterThan, 1), arg(5, specs.OpEqualTo, 5)))
	add("two rules of one call", specs.ActErrno, nil, one("socket", specs.ActAllow, arg(0, specs.OpEqualTo, 1)), one("socket", specs.ActAllow, arg(0, specs.OpEqualTo, 2)))
	add("condition, then all", specs.ActErrno, nil, one("socket", specs.ActTrap, arg(0, specs.OpEqualTo, 1)), one("socket", specs.ActAllow))
	add("all, then condition", specs.ActErrno, nil, one("socket", specs.ActAllow), one("socket", specs.ActTrap, arg(0, specs.OpEqualTo, 1)))
	add("conditions with the default action", specs.ActErrno, nil, specs.LinuxSyscall{Names: []string{"ioctl"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{arg(1, specs.OpEqualTo, 5)}}, one("ioctl", specs.ActAllow, arg(1, specs.OpLessThan, 9)))
	add("the default action, then a condition", specs.ActAllow, nil, one("ioctl", specs.ActAllow), one("ioctl", specs.ActErrno, arg(1, specs.OpLessThan, 9)))
	add("conditions apart", specs.ActErrno, nil, one("ioctl", specs.ActTrap, arg(1, specs.OpEqualTo, 5)), one("ioctl", specs.ActAllow, arg(1, specs.OpEqualTo, 6)), one("ioctl", specs.ActLog, arg(1, specs.OpGreaterThan, 100)))
	add("all twice", specs.ActErrno, nil, one("socket", specs.ActAllow), one("socket", specs.ActTrap))
	add("every architecture", specs.ActErrno, all, one("read write close openat socket connect semop shmat ioctl", specs.ActAllow), one("clone", specs.ActAllow, arg(0, specs.OpMaskedEqual, 0x7e020000, 0)))
	add("carried calls", specs.ActAllow, []specs.Arch{specs.ArchX86, specs.ArchMIPSEL}, one("socket", specs.ActErrno, arg(0, specs.OpEqualTo, 40)), one("msgget", specs.ActErrno), one("bind", specs.ActTrap))
	add("nothing", specs.ActAllow, nil)
	add("unknown names", specs.ActErrno, nil, one("no_such_call read also_none", specs.ActAllow))
	add("numbers that are not neighbours", specs.ActErrno, nil, one("read mremap kill clone ptrace statx landlock_restrict_self", specs.ActAllow))
	return m
}
