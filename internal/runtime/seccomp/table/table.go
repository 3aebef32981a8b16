// Package table knows the numbers of system calls by name, for the
// architectures that a filter can be compiled for.
package table

import (
	_ "embed"
	"strconv"
	"strings"
	"sync"

	"github.com/opencontainers/runtime-spec/specs-go"
)

//go:generate go run generate.go

//go:embed 386.txt
var text386 string

//go:embed amd64.txt
var textAMD64 string

//go:embed arm.txt
var textARM string

//go:embed arm64.txt
var textARM64 string

// Arch is one calling convention that a kernel offers to programs.
type Arch struct {
	Name specs.Arch
	// Audit is AUDIT_ARCH_… of linux/audit.h, which a filter sees.
	Audit uint32
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

// For returns what is known of an architecture; false where nothing is.
func For(name specs.Arch) (Arch, bool) {
	a, ok := arches()[name]
	return a, ok
}

var arches = sync.OnceValue(func() map[specs.Arch]Arch {
	amd64 := parse(textAMD64)
	x32 := make(map[string]uint32, len(amd64))
	for name, n := range amd64 {
		x32[name] = n | X32
	}
	for i, name := range x32Only {
		x32[name] = uint32(x32First+i) | X32
	}
	arm := parse(textARM)
	for name, n := range armPrivate {
		arm[name] = n
	}
	m := map[specs.Arch]Arch{}
	for _, a := range []Arch{
		{specs.ArchX86_64, 0xc000003e, amd64},
		{specs.ArchX32, 0xc000003e, x32},
		{specs.ArchX86, 0x40000003, parse(text386)},
		{specs.ArchAARCH64, 0xc00000b7, parse(textARM64)},
		{specs.ArchARM, 0x40000028, arm},
	} {
		m[a.Name] = a
	}
	return m
})

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
