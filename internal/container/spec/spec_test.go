package spec

import (
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/opencontainers/runtime-spec/specs-go"

	"hoy/internal/container/config"
	"hoy/internal/container/record"
)

func input(change func(*record.Record)) Input {
	hc := config.FillHost(nil, config.Host{})
	r := &record.Record{ID: strings.Repeat("a", 64), HostConfig: hc, Config: &container.Config{
		Hostname: "h1", Cmd: []string{"sh"}, Env: []string{"PATH=/x", "A=1"},
	}}
	if change != nil {
		change(r)
	}
	return Input{Record: r, NetNS: !hc.NetworkMode.IsHost(), Files: "/f"}
}

func build(t *testing.T, in Input) *specs.Spec {
	t.Helper()
	s, err := Build(in)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func find(s *specs.Spec, dst string) *specs.Mount {
	for i := range s.Mounts {
		if s.Mounts[i].Destination == dst {
			return &s.Mounts[i]
		}
	}
	return nil
}

func TestTheDefaultIsDockers(t *testing.T) {
	s := build(t, input(nil))
	var ns []string
	for _, n := range s.Linux.Namespaces {
		ns = append(ns, string(n.Type)+n.Path)
	}
	if want := []string{"mount", "network", "uts", "ipc", "pid"}; !slices.Equal(ns, want) {
		t.Errorf("namespaces %v, want %v", ns, want)
	}
	if len(s.Process.Capabilities.Bounding) != 14 || len(s.Process.Capabilities.Ambient) != 0 || s.Process.NoNewPrivileges {
		t.Errorf("privileges: %+v", s.Process)
	}
	if !slices.Equal(s.Process.Env, []string{"PATH=/x", "HOSTNAME=h1", "A=1"}) || s.Process.Cwd != "/" {
		t.Errorf("process: %+v", s.Process)
	}
	if !slices.Contains(s.Linux.MaskedPaths, "/proc/kcore") || !slices.Contains(s.Linux.ReadonlyPaths, "/proc/sys") {
		t.Error("nothing is masked")
	}
	for dst, opt := range map[string]string{"/proc": "nosuid", "/sys": "ro", "/sys/fs/cgroup": "ro", "/dev/shm": "size=67108864", "/dev/mqueue": "noexec", "/etc/hosts": "rbind"} {
		if m := find(s, dst); m == nil || !slices.Contains(m.Options, opt) {
			t.Errorf("%s: %+v, want option %s", dst, m, opt)
		}
	}
	r, err := Resources(config.FillHost(nil, config.Host{}), Devices{})
	if err != nil || r.Devices[0].Allow || r.Devices[0].Access != "rwm" || r.Memory != nil || r.CPU != nil || r.Pids != nil {
		t.Errorf("resources: %+v, %v", r, err)
	}
}

func TestModes(t *testing.T) {
	s := build(t, input(func(r *record.Record) { r.HostConfig.PidMode, r.HostConfig.UTSMode = "host", "host" }))
	for _, n := range s.Linux.Namespaces {
		if n.Type == specs.PIDNamespace || n.Type == specs.UTSNamespace {
			t.Errorf("has namespace %s", n.Type)
		}
	}
	in := input(nil)
	in.PidOf, in.IpcOf, in.Shm = 5, 6, "/shm"
	s = build(t, in)
	if !slices.ContainsFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Path == "/proc/5/ns/pid" }) {
		t.Errorf("joins no pid namespace: %+v", s.Linux.Namespaces)
	}
	if m := find(s, "/dev/shm"); m.Source != "/shm" || m.Type != "bind" {
		t.Errorf("shared memory: %+v", m)
	}
	s = build(t, input(func(r *record.Record) { r.HostConfig.IpcMode = "none" }))
	if find(s, "/dev/shm") != nil {
		t.Error("ipc none has /dev/shm")
	}
	in = input(func(r *record.Record) {
		r.HostConfig = config.FillHost(&container.HostConfig{Privileged: true}, config.Host{})
	})
	s = build(t, in)
	if len(s.Linux.MaskedPaths)+len(s.Linux.ReadonlyPaths) != 0 || len(s.Process.Capabilities.Bounding) != len(config.AllCapabilities) ||
		slices.Contains(find(s, "/sys").Options, "ro") || slices.Contains(find(s, "/sys/fs/cgroup").Options, "ro") {
		t.Errorf("privileged is not: %+v", s.Linux)
	}
}

func TestMountsCoverTheKernelsAndParentsComeFirst(t *testing.T) {
	s := build(t, input(func(r *record.Record) {
		for _, d := range []string{"/a/b", "/a", "/dev/shm"} {
			r.Mounts = append(r.Mounts, record.Mount{MountPoint: container.MountPoint{Type: mount.TypeBind, Source: "/src" + d, Destination: d}})
		}
	}))
	var order []string
	for _, m := range s.Mounts {
		order = append(order, m.Destination)
	}
	if slices.Index(order, "/a") > slices.Index(order, "/a/b") {
		t.Errorf("order %v", order)
	}
	if m := find(s, "/dev/shm"); m.Source != "/src/dev/shm" || !slices.Contains(m.Options, "rro") {
		t.Errorf("/dev/shm: %+v", m)
	}
}

func TestLimits(t *testing.T) {
	pids := int64(0)
	r := Limits(&container.Resources{Memory: 8 << 20, MemorySwap: -1, NanoCPUs: 5e8, PidsLimit: &pids})
	if *r.Memory.Limit != 8<<20 || *r.Memory.Swap != -1 || *r.CPU.Quota != 50000 || *r.CPU.Period != 100000 || *r.Pids.Limit != -1 {
		t.Errorf("%+v %+v %+v", r.Memory, r.CPU, r.Pids)
	}
}

func TestReplaceEnv(t *testing.T) {
	got := ReplaceEnv([]string{"A=1", "B=2"}, []string{"B=3", "A", "C=4", "D"})
	if !slices.Equal(got, []string{"B=3", "C=4"}) {
		t.Errorf("%v", got)
	}
}
