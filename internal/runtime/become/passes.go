package become

import (
	"encoding/binary"
	"runtime"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// audit is AUDIT_ARCH_… of linux/audit.h for the machine.
var audit = map[string]uint32{
	"amd64": 0xc000003e, "arm64": 0xc00000b7, "riscv64": 0xc00000f3, "loong64": 0xc0000102, "ppc64le": 0xc0000015,
}

// BirthPasses says whether a filter lets the calls of a birth pass, whatever
// else their arguments are: it is loaded before them.
func BirthPasses(filter []byte, terminal bool) bool {
	if len(filter) == 0 {
		return true
	}
	arch, known := audit[runtime.GOARCH]
	if !known {
		return false
	}
	var insns []bpf.Instruction
	for raw := filter; len(raw) >= 8; raw = raw[8:] {
		insns = append(insns, bpf.RawInstruction{
			Op: binary.NativeEndian.Uint16(raw), Jt: raw[2], Jf: raw[3], K: binary.NativeEndian.Uint32(raw[4:]),
		}.Disassemble())
	}
	vm, err := bpf.NewVM(insns)
	if err != nil {
		return false
	}
	pass := func(nr uintptr, args ...uint64) bool {
		var data [64]byte
		// struct seccomp_data; the interpreter reads words in network order.
		binary.BigEndian.PutUint32(data[0:], uint32(nr))
		binary.BigEndian.PutUint32(data[4:], arch)
		for i, a := range args {
			binary.BigEndian.PutUint32(data[16+8*i:], uint32(a))
			binary.BigEndian.PutUint32(data[20+8*i:], uint32(a>>32))
		}
		ret, err := vm.Run(data[:])
		action := uint32(ret) & unix.SECCOMP_RET_ACTION_FULL
		return err == nil && (action == unix.SECCOMP_RET_ALLOW || action == unix.SECCOMP_RET_LOG)
	}
	const any1, any2 = 0x7fff0000, 0
	for _, x := range []uint64{any1, any2} {
		for _, nr := range []uintptr{unix.SYS_MUNMAP, unix.SYS_CLOSE_RANGE, unix.SYS_WRITE, unix.SYS_EXIT_GROUP, unix.SYS_SETSID} {
			if !pass(nr, x, x, x, x, x, x) {
				return false
			}
		}
	}
	return pass(unix.SYS_CLONE, unix.CLONE_PARENT|uint64(unix.SIGCHLD)) && (!terminal || pass(unix.SYS_IOCTL, 0, unix.TIOCSCTTY))
}
