package system

import (
	"bufio"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/system"
	"golang.org/x/sys/unix"
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

const cgroupRoot = "/sys/fs/cgroup"

// limits says which resources the kernel lets us limit.
type limits struct{ memory, swap, oomDisable, shares, quota, cpuset, pids bool }

func readLimits(version string) limits {
	if version == "2" {
		b, _ := os.ReadFile(filepath.Join(cgroupRoot, "cgroup.controllers"))
		has := func(name string) bool {
			for f := range strings.FieldsSeq(string(b)) {
				if f == name {
					return true
				}
			}
			return false
		}
		return limits{memory: has("memory"), swap: has("memory"), shares: has("cpu"), quota: has("cpu"), cpuset: has("cpuset"), pids: has("pids")}
	}
	has := func(path string) bool {
		_, err := os.Stat(filepath.Join(cgroupRoot, path))
		return err == nil
	}
	return limits{
		memory: has("memory/memory.limit_in_bytes"), swap: has("memory/memory.memsw.limit_in_bytes"),
		oomDisable: has("memory/memory.oom_control"), shares: has("cpu/cpu.shares"),
		quota: has("cpu/cpu.cfs_quota_us"), cpuset: has("cpuset/cpuset.cpus"), pids: has("pids"),
	}
}

func (l limits) fill(info *system.Info) {
	info.MemoryLimit, info.SwapLimit, info.OomKillDisable = l.memory, l.swap, l.oomDisable
	info.CPUShares, info.CPUCfsPeriod, info.CPUCfsQuota = l.shares, l.quota, l.quota
	info.CPUSet, info.PidsLimit = l.cpuset, l.pids
	for _, w := range []struct {
		has  bool
		text string
	}{
		{l.memory, "WARNING: No memory limit support"}, {l.swap, "WARNING: No swap limit support"},
		{l.quota, "WARNING: No cpu cfs quota support"}, {l.shares, "WARNING: No cpu shares support"},
		{l.cpuset, "WARNING: No cpuset support"}, {l.pids, "WARNING: No pids limit support"},
		{info.IPv4Forwarding, "WARNING: IPv4 forwarding is disabled"},
	} {
		if !w.has {
			info.Warnings = append(info.Warnings, w.text)
		}
	}
}
