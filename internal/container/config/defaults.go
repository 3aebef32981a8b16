package config

import (
	"hoy/internal/log"
	"maps"
	"slices"

	"github.com/moby/moby/api/types/container"

	"hoy/internal/runtime/cgroup/tree"
)

// DefaultShmSize of /dev/shm, in bytes.
const DefaultShmSize = 64 << 20

// MaskedPaths are hidden from an unprivileged container, as Docker does.
var MaskedPaths = []string{
	"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
	"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
	"/sys/devices/virtual/powercap", "/sys/firmware",
}

// ReadonlyPaths are not writable in an unprivileged container, as Docker does.
var ReadonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}

// Host is what the engine and the machine decide.
type Host struct {
	// CPUs that the machine has.
	CPUs int
	// CgroupV2 where the tree is version 2 alone.
	CgroupV2     bool
	CgroupnsMode container.CgroupnsMode
	IpcMode      container.IpcMode
	ShmSize      int64
	LogDriver    string
	// Runtime is the default one's name.
	Runtime    string
	LogOptions map[string]string
	// Kernel is what it can limit; nil is everything.
	Kernel *tree.Support
	// AppArmor says whether the kernel has it.
	AppArmor bool
	// Remapped: containers have a user namespace unless they ask for the host's.
	Remapped bool
}

// FillHost returns a copy of asked with defaults filled in. A nil asked is all defaults.
func FillHost(asked *container.HostConfig, h Host) *container.HostConfig {
	var hc container.HostConfig
	if asked != nil {
		hc = *asked
	}
	if hc.NetworkMode == "" || hc.NetworkMode.IsDefault() {
		hc.NetworkMode = "bridge"
	}
	if hc.RestartPolicy.Name == "" {
		hc.RestartPolicy.Name = container.RestartPolicyDisabled
	}
	if hc.Memory > 0 && hc.MemorySwap == 0 {
		hc.MemorySwap = 2 * hc.Memory
	}
	if hc.ShmSize == 0 {
		hc.ShmSize = orElse(h.ShmSize, DefaultShmSize)
	}
	if hc.IpcMode == "" {
		hc.IpcMode = orElse(h.IpcMode, container.IPCModePrivate)
	}
	if hc.CgroupnsMode == "" {
		hc.CgroupnsMode = cgroupns(hc.Privileged, h)
	}
	if hc.OomKillDisable == nil {
		hc.OomKillDisable = new(bool)
	}
	hc.LogConfig = logConfig(hc.LogConfig, h)
	if hc.Runtime == "" {
		hc.Runtime = h.Runtime
	}
	if !hc.Privileged {
		if hc.MaskedPaths == nil {
			hc.MaskedPaths = slices.Clone(MaskedPaths)
		}
		if hc.ReadonlyPaths == nil {
			hc.ReadonlyPaths = slices.Clone(ReadonlyPaths)
		}
	}
	return &hc
}

// logConfig takes the engine's driver, and its options where the driver is the same.
func logConfig(c container.LogConfig, h Host) container.LogConfig {
	def := orElse(h.LogDriver, log.JSONFile)
	opts := map[string]string{}
	if c.Type == "" {
		c.Type = def
	}
	if c.Type == def {
		maps.Copy(opts, h.LogOptions)
	}
	maps.Copy(opts, c.Config)
	c.Config = opts
	return c
}

func cgroupns(privileged bool, h Host) container.CgroupnsMode {
	switch {
	case privileged && !h.CgroupV2:
		return container.CgroupnsModeHost
	case h.CgroupnsMode != "":
		return h.CgroupnsMode
	case h.CgroupV2:
		return container.CgroupnsModePrivate
	default:
		return container.CgroupnsModeHost
	}
}

func orElse[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
