// Package table knows the numbers of system calls by name, for the
// architectures that a filter can be compiled for.
package table

import (
	"embed"
	"strconv"
	"strings"
	"sync"

	"github.com/opencontainers/runtime-spec/specs-go"
)

//go:generate go run generate.go

//go:embed *.txt
var texts embed.FS

// Arch is one calling convention that a kernel offers to programs.
type Arch struct {
	Name specs.Arch
	// Audit is AUDIT_ARCH_… of linux/audit.h, which a filter sees.
	Audit uint32
	// Big: the first half of an argument in memory is the high one.
	Big bool
	// Narrow: arguments have 32 bits, of which a filter sees 64. On x32, where the
	// upper half can hold anything, the kernel does not look at it either.
	Narrow bool
	// Numbers of the system calls by name.
	Numbers map[string]uint32
}

// X32 is the bit that marks a call of the x32 convention, which has x86-64's Audit.
const X32 = 0x40000000

// x32Only are the calls that have numbers of their own there
// (arch/x86/entry/syscalls/syscall_64.tbl in Linux).
var x32Only = strings.Fields(`rt_sigaction rt_sigreturn ioctl readv writev recvfrom sendmsg recvmsg execve ptrace
	rt_sigpending rt_sigtimedwait rt_sigqueueinfo sigaltstack timer_create mq_notify kexec_load waitid set_robust_list
	get_robust_list vmsplice move_pages preadv pwritev rt_tgsigqueueinfo recvmmsg sendmmsg process_vm_readv
	process_vm_writev setsockopt getsockopt io_setup io_submit execveat preadv2 pwritev2`)

// x32First is the number of the first of them.
const x32First = 512

// armPrivate are calls of the arm convention outside the common numbering.
var armPrivate = map[string]uint32{
	"breakpoint": 0xf0001, "cacheflush": 0xf0002, "usr26": 0xf0003, "usr32": 0xf0004, "set_tls": 0xf0005,
}

// known are the architectures that libseccomp has names for. One without a text
// has a name and no numbers.
var known = []struct {
	name  specs.Arch
	audit uint32
	text  string
	big   bool
	wide  bool
}{
	{specs.ArchX86_64, 0xc000003e, "amd64", false, true},
	{specs.ArchX32, 0xc000003e, "amd64", false, false},
	{specs.ArchX86, 0x40000003, "386", false, false},
	{specs.ArchAARCH64, 0xc00000b7, "arm64", false, true},
	{specs.ArchARM, 0x40000028, "arm", false, false},
	{specs.ArchRISCV64, 0xc00000f3, "riscv64", false, true},
	{specs.ArchLOONGARCH64, 0xc0000102, "loong64", false, true},
	{specs.ArchS390X, 0x80000016, "s390x", true, true},
	{specs.ArchPPC, 0x00000014, "ppc", true, false},
	{specs.ArchPPC64, 0x80000015, "ppc64", true, true},
	{specs.ArchPPC64LE, 0xc0000015, "ppc64", false, true},
	{specs.ArchMIPS, 0x00000008, "mips", true, false},
	{specs.ArchMIPSEL, 0x40000008, "mips", false, false},
	{specs.ArchMIPS64, 0x80000008, "mips64", true, true},
	{specs.ArchMIPSEL64, 0xc0000008, "mips64", false, true},
	{name: specs.ArchMIPS64N32}, {name: specs.ArchMIPSEL64N32}, {name: specs.ArchS390}, {name: specs.ArchPARISC},
	{name: specs.ArchPARISC64}, {name: specs.ArchM68K}, {name: specs.ArchSH}, {name: specs.ArchSHEB},
}

// Named says whether name is an architecture at all; For may still know no
// numbers of it.
func Named(name specs.Arch) bool {
	for _, k := range known {
		if k.name == name {
			return true
		}
	}
	return false
}

// For returns what is known of an architecture; false where nothing is.
func For(name specs.Arch) (Arch, bool) {
	a, ok := arches()[name]
	return a, ok
}

var arches = sync.OnceValue(func() map[specs.Arch]Arch {
	m := map[specs.Arch]Arch{}
	for _, k := range known {
		if k.text == "" {
			continue
		}
		a := Arch{Name: k.name, Audit: k.audit, Big: k.big, Narrow: !k.wide, Numbers: read(k.text)}
		switch k.name {
		case specs.ArchX32:
			a.Numbers = x32(a.Numbers)
		case specs.ArchARM:
			for name, n := range armPrivate {
				a.Numbers[name] = n
			}
		}
		m[a.Name] = a
	}
	return m
})

func x32(amd64 map[string]uint32) map[string]uint32 {
	m := make(map[string]uint32, len(amd64))
	for name, n := range amd64 {
		m[name] = n | X32
	}
	for i, name := range x32Only {
		m[name] = uint32(x32First+i) | X32
	}
	return m
}

func read(name string) map[string]uint32 {
	text, err := texts.ReadFile(name + ".txt")
	if err != nil {
		panic("seccomp table: " + err.Error())
	}
	return parse(string(text))
}

func parse(text string) map[string]uint32 {
	m := make(map[string]uint32, 512)
	for line := range strings.Lines(text) {
		name, number, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.ParseUint(number, 10, 32)
		if err != nil {
			panic("seccomp table: " + err.Error())
		}
		m[name] = uint32(n)
	}
	return m
}
