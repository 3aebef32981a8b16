package become

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"hoy/internal/runtime/landlock"
)

// Modules asks the kernel which security modules it runs.
var Modules = sync.OnceValue(func() LSM {
	enabled, _ := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	var fs unix.Statfs_t
	err := unix.Statfs("/sys/fs/selinux", &fs)
	return LSM{AppArmor: len(enabled) > 0 && enabled[0] == 'Y', SELinux: err == nil && fs.Type == unix.SELINUX_MAGIC, Landlock: landlock.Version()}
})

// OwnCapabilities are read once: a process of ours never changes them.
var OwnCapabilities = sync.OnceValues(func() (Capabilities, error) {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&head, &data[0]); err != nil {
		return Capabilities{}, fmt.Errorf("capget: %w", err)
	}
	c := Capabilities{Permitted: uint64(data[0].Permitted) | uint64(data[1].Permitted)<<32}
	for n := range 64 {
		has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0)
		if err != nil {
			break
		}
		c.Bounding |= uint64(has) << n
	}
	return c, nil
})
