package firewall

import (
	"encoding/binary"
	"os"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Layout of include/uapi/linux/netfilter_ipv4/ip_tables.h and x_tables.h.
const (
	iptGetInfo        = 64
	iptGetEntries     = 65
	iptNameSize       = 32
	iptInfoSize       = 84 // struct ipt_getinfo
	iptUnderflow      = 56 // its field underflow, an offset per hook
	iptTableSize      = 80 // its field size
	iptEntriesHeader  = 40 // struct ipt_get_entries up to the entries
	iptTargetOffset   = 88 // struct ipt_entry.target_offset
	xtTargetSize      = 32 // struct xt_entry_target, before a standard target's verdict
	hookForward       = 2  // NF_INET_FORWARD
	verdictDrop       = -1 // -NF_DROP - 1
	maxLegacyTable    = 64 << 20
	legacyTablesNames = "/proc/thread-self/net/ip_tables_names"
)

// legacyDrops says whether the old iptables, which nftables does not show, drops
// forwarded packets by policy. It runs in the namespace that is meant. Where the
// answer cannot be had it is no.
func legacyDrops() bool {
	names, err := os.ReadFile(legacyTablesNames)
	// To ask for a table makes the kernel load it: only what is there is asked for.
	if err != nil || !slices.Contains(strings.Fields(string(names)), "filter") {
		return false
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(fd) }()
	info := make([]byte, iptInfoSize)
	copy(info, "filter")
	if !getsockopt(fd, iptGetInfo, info) {
		return false
	}
	size := binary.NativeEndian.Uint32(info[iptTableSize:])
	if size > maxLegacyTable {
		return false
	}
	entries := make([]byte, iptEntriesHeader+size)
	copy(entries, "filter")
	binary.NativeEndian.PutUint32(entries[iptNameSize:], size)
	if !getsockopt(fd, iptGetEntries, entries) {
		return false
	}
	return policyDrops(entries[iptEntriesHeader:], binary.NativeEndian.Uint32(info[iptUnderflow+4*hookForward:]))
}

// policyDrops reads the rule at that offset, a chain's policy, which has a standard target.
func policyDrops(table []byte, at uint32) bool {
	if uint64(at)+iptTargetOffset+2 > uint64(len(table)) {
		return false
	}
	target := uint64(at) + uint64(binary.NativeEndian.Uint16(table[at+iptTargetOffset:])) + xtTargetSize
	if target+4 > uint64(len(table)) {
		return false
	}
	return int32(binary.NativeEndian.Uint32(table[target:])) == verdictDrop
}

// getsockopt fills buf, whose beginning the kernel reads too.
func getsockopt(fd, option int, buf []byte) bool {
	size := uint32(len(buf))
	// Neither package has this call for a buffer that is both read and written.
	// buf is not empty, and both pointers stay alive and in place during the call.
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_IP, uintptr(option),
		uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&size)), 0)
	return errno == 0
}
