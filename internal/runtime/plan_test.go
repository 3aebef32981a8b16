package runtime

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

var update = flag.Bool("update", false, "write the golden files anew")

// planned is a start with something of everything.
func planned() *Launch {
	spec := docker("sh", "-c", "echo hello")
	spec.Mounts = append(spec.Mounts,
		specs.Mount{Type: "bind", Source: "/", Destination: "/data/host", Options: []string{"rbind", "ro", "rslave"}},
		specs.Mount{Type: "bind", Source: "/dev/null", Destination: "/etc/hosts", Options: []string{"bind", "rro", "nosuid"}},
		specs.Mount{Type: "tmpfs", Source: "tmpfs", Destination: "/data/host/scratch", Options: []string{"size=1m", "mode=700", "noexec"}},
	)
	spec.Root = &specs.Root{Readonly: true}
	spec.Domainname = "example"
	spec.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1", "kernel.shmmax": "65536"}
	spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	spec.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/net/tun", Type: "c", Major: 10, Minor: 200, FileMode: ptr(os.FileMode(0o660)), GID: ptr(uint32(5))}}
	spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 1024, Hard: 4096}}
	spec.Process.Terminal = true
	spec.Process.Cwd = "/work"
	return &Launch{
		ID: "plan", Spec: spec, User: "app", Seccomp: make([]byte, 80),
		Rootfs:      []RootMount{{Type: "overlay", Source: "overlay", Options: []string{"lowerdir=/l", "upperdir=/u", "workdir=/w"}}},
		CgroupProcs: []string{"/sys/fs/cgroup/memory/hoy/plan/cgroup.procs", "/sys/fs/cgroup/pids/hoy/plan/cgroup.procs"},
		ConsoleSize: specs.Box{Height: 24, Width: 80}, Reaper: "/usr/libexec/hoy-init",
	}
}

func TestPlan(t *testing.T) {
	user := planned()
	user.Reaper, user.CgroupProcs = "", nil
	user.Spec.Process.Terminal, user.Spec.Process.NoNewPrivileges = false, true
	user.Spec.Mounts = user.Spec.Mounts[:1]
	user.Spec.Linux.MaskedPaths, user.Spec.Linux.ReadonlyPaths = nil, []string{"/proc/sys"}
	user.Spec.Linux.Namespaces = append(user.Spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	user.Spec.Linux.UIDMappings = []specs.LinuxIDMapping{{HostID: 100000, Size: 65536}}
	user.Spec.Linux.GIDMappings = user.Spec.Linux.UIDMappings
	held := planned()
	held.Spec.Root.Path, held.Start, held.KeepFDs, held.NoKeyring = "/bundle/root", os.NewFile(uintptr(1<<30), "start"), 2, true
	held.BeforePivot = func(int) error { return nil }
	held.Rootfs, held.Reaper = nil, ""
	held.Landlock = []string{"exec:/", "connect:443"}
	pod := planned()
	pod.Spec.Process.Terminal, pod.Reaper, pod.CgroupProcs = false, "", nil
	pod.Spec.Mounts, pod.Spec.Linux.MaskedPaths = pod.Spec.Mounts[:1], nil
	withNS(pod.Spec, specs.UserNamespace, "/proc/5/ns/user")
	withNS(pod.Spec, specs.TimeNamespace, "")
	pod.Spec.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"monotonic": {Secs: -3}, "boottime": {Secs: 2, Nanosecs: 1}}
	for name, l := range map[string]*Launch{"full": planned(), "userns": user, "held": held, "pod": pod} {
		got, err := Plan(l)
		must(t, err)
		file := filepath.Join("testdata", name+".golden")
		if *update {
			must(t, os.MkdirAll("testdata", 0o755))
			must(t, os.WriteFile(file, []byte(got), 0o644))
		}
		want, err := os.ReadFile(file)
		must(t, err)
		if got == string(want) {
			continue
		}
		g, w := strings.Split(got, "\n"), strings.Split(string(want), "\n")
		for i := range min(len(g), len(w)) {
			if g[i] != w[i] {
				t.Errorf("%s:%d: %s\nwant %s (run with -update after reading)", file, i+1, g[i], w[i])
				break
			}
		}
		if len(g) != len(w) {
			t.Errorf("%s: %d lines, want %d", file, len(g), len(w))
		}
	}
}

func TestPlanRefusals(t *testing.T) {
	for what, change := range map[string]func(*specs.Spec){
		"not an absolute path": func(s *specs.Spec) { s.Process.Cwd = "work" },
		"mount namespace":      func(s *specs.Spec) { s.Linux.Namespaces = s.Linux.Namespaces[:1] },
		"scheduling policy":    func(s *specs.Spec) { s.Process.Scheduler = &specs.Scheduler{Policy: "SCHED_X"} },
		"scheduling flag": func(s *specs.Spec) {
			s.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedOther, Flags: []specs.LinuxSchedulerFlag{"X"}}
		},
		"unknown I/O priority": func(s *specs.Spec) {
			s.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 8}
		},
		"unknown personality":    func(s *specs.Spec) { s.Linux.Personality = &specs.LinuxPersonality{Domain: "SVR4"} },
		"AppArmor is not":        func(s *specs.Spec) { s.Process.ApparmorProfile = "x" },
		"SELinux is not":         func(s *specs.Spec) { s.Process.SelinuxLabel = "x" },
		"mounts are to have":     func(s *specs.Spec) { s.Linux.MountLabel = "x" },
		"unknown resource limit": func(s *specs.Spec) { s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_X"}} },
		"above hard limit":       func(s *specs.Spec) { s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_CORE", Soft: 2, Hard: 1}} },
		"not in a separate":      func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{"kernel.panic": "1"} },
		"is not a name":          func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{"net/../kernel/panic": "1"} },
		"host's network": func(s *specs.Spec) {
			s.Linux.Sysctl = map[string]string{"net.core.somaxconn": "1"}
			s.Linux.Namespaces = s.Linux.Namespaces[2:]
		},
		"hooks are not supported": func(s *specs.Spec) { s.Hooks = &specs.Hooks{Poststop: []specs.Hook{{Path: "/x"}}} },
		"unknown type":            func(s *specs.Spec) { s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/x", Type: "z"}} },
		"it cannot be there":      func(s *specs.Spec) { s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/..", Type: "c"}} },
		"there is no device":      func(s *specs.Spec) { s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/x", Type: "c", Major: -1}} },
		"neither a type nor":      func(s *specs.Spec) { s.Mounts = []specs.Mount{{Source: "/x", Destination: "/y"}} },
		"is not absolute":         func(s *specs.Spec) { s.Mounts = []specs.Mount{{Type: "bind", Source: "x", Destination: "/y"}} },
		"longer than the 255": func(s *specs.Spec) {
			s.Mounts = []specs.Mount{{Type: "nfs", Destination: "/y", Options: []string{"addr=" + strings.Repeat("x", 256)}}}
		},
		"needs a devpts": func(s *specs.Spec) { s.Mounts = s.Mounts[:2]; s.Process.Terminal = true },
		"uid and gid mappings": func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		},
	} {
		spec := docker("true")
		change(spec)
		if _, err := Plan(&Launch{Spec: spec}); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := Plan(&Launch{Spec: &specs.Spec{}}); err == nil {
		t.Error("no process: no error")
	}
}
