package system

import (
	"bufio"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/system"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/cgroup/tree"
)

// host is the machine that the engine runs on.
type host struct {
	name, kernel, machine, system, systemVersion string
	// memory in bytes.
	memory int64
}

func readHost() host {
	h := host{system: "Linux"}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		h.name, h.kernel = unix.ByteSliceToString(u.Nodename[:]), unix.ByteSliceToString(u.Release[:])
		h.machine = unix.ByteSliceToString(u.Machine[:])
	}
	for _, path := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		release := readPairs(path, "=")
		if name := release["PRETTY_NAME"]; name != "" {
			h.system, h.systemVersion = name, release["VERSION_ID"]
			break
		}
	}
	if text, ok := strings.CutSuffix(readPairs("/proc/meminfo", ":")["MemTotal"], " kB"); ok {
		kb, _ := strconv.ParseInt(text, 10, 64)
		h.memory = kb << 10
	}
	return h
}

// readPairs reads lines of name, separator, value; quotes are taken off.
func readPairs(path, separator string) map[string]string {
	all := map[string]string{}
	f, err := os.Open(path)
	if err != nil {
		return all
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), separator); ok {
			all[name] = strings.Trim(strings.TrimSpace(value), `"'`)
		}
	}
	return all
}

func fileIs(path, want string) bool {
	b, err := os.ReadFile(path)
	return err == nil && strings.TrimSpace(string(b)) == want
}

func countDir(path string) int {
	all, err := os.ReadDir(path)
	if err != nil {
		return -1
	}
	return len(all)
}

// moduleVersion is the version of a library in this binary.
func moduleVersion(path string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == path {
				return d.Version
			}
		}
	}
	return ""
}

// fillLimits says which resources the kernel lets us limit; version is that of its cgroups.
func fillLimits(info *system.Info, l *tree.Support, version string) {
	info.MemoryLimit, info.SwapLimit, info.OomKillDisable = l.Memory, l.Swap, l.OOMDisable
	info.CPUShares, info.CPUCfsPeriod, info.CPUCfsQuota = l.CPUShares, l.CPUQuota, l.CPUQuota
	info.CPUSet, info.PidsLimit = l.CPUSet, l.Pids
	io := map[string]string{"weight": "blkio weight", "device": "blkio weight_device", "rbps": "blkio throttle.read_bps_device", "wbps": "blkio throttle.write_bps_device", "riops": "blkio throttle.read_iops_device", "wiops": "blkio throttle.write_iops_device"}
	if version == "2" {
		io = map[string]string{"weight": "io.weight", "device": "io.weight (per device)", "rbps": "io.max (rbps)", "wbps": "io.max (wbps)", "riops": "io.max (riops)", "wiops": "io.max (wiops)"}
	}
	for _, w := range []struct {
		has  bool
		text string
	}{
		{l.Memory, "WARNING: No memory limit support"}, {l.Swap, "WARNING: No swap limit support"},
		{l.OOMDisable || version == "2", "WARNING: No oom kill disable support"},
		{l.CPUQuota, "WARNING: No cpu cfs quota support"}, {l.CPUQuota, "WARNING: No cpu cfs period support"},
		{l.CPUShares, "WARNING: No cpu shares support"}, {l.CPUSet, "WARNING: No cpuset support"}, {l.Pids, "WARNING: No pids limit support"},
		{l.BlkioWeight, "WARNING: No " + io["weight"] + " support"}, {l.BlkioWeightDevice, "WARNING: No " + io["device"] + " support"},
		{l.BlkioReadBps, "WARNING: No " + io["rbps"] + " support"}, {l.BlkioWriteBps, "WARNING: No " + io["wbps"] + " support"},
		{l.BlkioReadIOPS, "WARNING: No " + io["riops"] + " support"}, {l.BlkioWriteIOPS, "WARNING: No " + io["wiops"] + " support"},
		{info.IPv4Forwarding, "WARNING: IPv4 forwarding is disabled"},
	} {
		if !w.has {
			info.Warnings = append(info.Warnings, w.text)
		}
	}
}
