package seccomp

import (
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/seccomp/table"
)

// plain is what a profile says of one call, read rule by rule.
func plain(s *specs.LinuxSeccomp, arch table.Arch, nr uint32, args [6]uint64) uint32 {
	def, _ := action(s.DefaultAction, s.DefaultErrnoRet)
	last, verdict, decided := uint32(0), def, false
	for _, call := range s.Syscalls {
		ret, _ := action(call.Action, call.ErrnoRet)
		sets, _ := alternatives(call.Args)
		for _, name := range call.Names {
			for _, p := range places(arch, name, sets) {
				last = max(last, p.number)
				switch {
				case p.number != nr || ret == def:
				case len(p.sets) == 0:
					return whole(s, arch, nr, def, def)
				case !decided && anyHolds(p.sets, arch, args):
					verdict, decided = ret, true
				}
			}
		}
	}
	if nr > last {
		return unknown(def, last)
	}
	return whole(s, arch, nr, def, verdict)
}

// whole is the first unconditional rule's action.
func whole(s *specs.LinuxSeccomp, arch table.Arch, nr, def, otherwise uint32) uint32 {
	for _, call := range s.Syscalls {
		ret, _ := action(call.Action, call.ErrnoRet)
		for _, name := range call.Names {
			n, ok := arch.Numbers[name]
			if ok && n == nr && len(call.Args) == 0 && ret != def {
				return ret
			}
		}
	}
	return otherwise
}

func anyHolds(sets [][]specs.LinuxSeccompArg, arch table.Arch, args [6]uint64) bool {
	for _, set := range sets {
		all := true
		for _, a := range set {
			x := args[a.Index]
			if arch.Narrow {
				x, a.Value, a.ValueTwo = uint64(uint32(x)), uint64(uint32(a.Value)), uint64(uint32(a.ValueTwo))
			}
			all = all && holds(a, x)
		}
		if all {
			return true
		}
	}
	return false
}

// FuzzCompile has profiles of strangers compiled: whatever they say, a program
// that the kernel takes comes out, or an error, and it means what they say.
func FuzzCompile(f *testing.F) {
	for _, text := range []string{
		`{"defaultAction":"SCMP_ACT_ALLOW"}`,
		`{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86","SCMP_ARCH_X32","SCMP_ARCH_S390X","SCMP_ARCH_MIPS"],"syscalls":[{"names":["read","socket","ioctl"],"action":"SCMP_ACT_ALLOW","args":[{"index":1,"value":5,"op":"SCMP_CMP_GE"}]}]}`,
		`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["socket","ioctl"],"action":"SCMP_ACT_NOTIFY","args":[{"index":0,"value":18446744073709551615,"valueTwo":3,"op":"SCMP_CMP_MASKED_EQ"},{"index":0,"value":1,"op":"SCMP_CMP_NE"}]},{"name":"ioctl","action":"SCMP_ACT_ERRNO","errnoRet":70000}]}`,
		`{"defaultAction":"SCMP_ACT_LOG","archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]}],"syscalls":[{"names":["read"],"action":"SCMP_ACT_TRACE","includes":{"minKernel":"4.8"}}]}`,
	} {
		f.Add([]byte(text), uint32(16), uint64(5), uint64(1))
	}
	f.Fuzz(func(t *testing.T, text []byte, nr uint32, one, other uint64) {
		s, err := Parse(string(text), dockerCaps)
		if err != nil || s == nil {
			return
		}
		_, _ = Flags(s)
		_, _ = Listens(s)
		raw, err := Compile(s)
		if err != nil {
			return
		}
		m := newMachine(t, raw)
		if m.size > maxInsns {
			t.Fatalf("%d instructions", m.size)
		}
		arches, err := targets(s)
		if err != nil {
			t.Fatal(err)
		}
		var x32 bool
		for _, a := range arches {
			x32 = x32 || a.Name == specs.ArchX32
		}
		for _, arch := range arches {
			numbers := []uint32{nr % 1024}
			for _, call := range s.Syscalls {
				for _, name := range call.Names {
					if n, ok := arch.Numbers[name]; ok && len(numbers) < 20 {
						numbers = append(numbers, n)
					}
				}
			}
			for _, n := range numbers {
				if arch.Name == specs.ArchX32 {
					n |= table.X32
				}
				for _, args := range [][6]uint64{{one, other, one, other, one, other}, {other, one, other, one, other, one}, {1, 2, 3, 4, 5, 6}} {
					if got, want := m.run(arch, n, args), plain(s, arch, n, args); got != want {
						t.Fatalf("%s: call %d with %#x: %#x, want %#x\n%s", arch.Name, n, args, got, want, text)
					}
				}
			}
			if arch.Name == specs.ArchX86_64 && !x32 {
				if got := m.run(arch, table.X32, [6]uint64{}); got != unix.SECCOMP_RET_KILL_PROCESS {
					t.Fatalf("x32 is a way around: %#x", got)
				}
			}
		}
	})
}
