// Package spec writes the OCI runtime specification of a container. Build is a
// pure function; what must be read from the host (devices) is read by the
// functions of devices.go and handed in.
package spec

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"

	"hoy/internal/container/config"
	"hoy/internal/container/record"
)

// DefaultPath is PATH where the image has none.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Input is everything that a specification depends on.
type Input struct {
	Record *record.Record
	// Files holds hosts, hostname and resolv.conf to bind over the image's;
	// empty where the container is to keep its own.
	Files string
	// Shm, where not empty, is the host directory that is bound at /dev/shm.
	Shm string
	// NetNS says that the container gets a network namespace other than the host's.
	NetNS bool
	// PidOf and IpcOf are the host pids of the containers whose namespaces are joined; 0 is none.
	PidOf, IpcOf int
	Security     config.Security
	// Devices to make inside, and their cgroup rules.
	Devices Devices
	Ulimits map[string]*container.Ulimit
	// UserNS, where not nil, gives the container a user namespace of its own.
	UserNS *UserNS
}

// UserNS is a user namespace with its mapping.
type UserNS struct {
	UIDs, GIDs []specs.LinuxIDMapping
	// Path leads to the namespace.
	Path string
}

// Build writes the specification. The root file system and the seccomp program
// travel beside it.
func Build(in Input) (*specs.Spec, error) {
	c, hc := in.Record.Config, in.Record.HostConfig
	caps, err := config.Capabilities(hc.CapAdd, hc.CapDrop, hc.Privileged)
	if err != nil {
		return nil, err
	}
	s := &specs.Spec{
		Version: specs.Version,
		Process: &specs.Process{
			Terminal:        c.Tty,
			Args:            config.Command(c),
			Env:             Env(in.Record),
			Cwd:             cmp.Or(c.WorkingDir, "/"),
			Capabilities:    Caps(caps),
			Rlimits:         Rlimits(hc.Ulimits, in.Ulimits),
			NoNewPrivileges: in.Security.NoNewPrivileges,
			ApparmorProfile: in.Security.AppArmor,
			OOMScoreAdj:     &hc.OomScoreAdj,
		},
		Root:        &specs.Root{Path: "rootfs", Readonly: hc.ReadonlyRootfs},
		Mounts:      mounts(in),
		Annotations: hc.Annotations,
		Linux: &specs.Linux{
			Namespaces:    namespaces(in),
			Devices:       in.Devices.Nodes,
			Sysctl:        sysctls(in),
			MaskedPaths:   hc.MaskedPaths,
			ReadonlyPaths: hc.ReadonlyPaths,
		},
	}
	if c.Tty {
		s.Process.ConsoleSize = &specs.Box{Height: hc.ConsoleSize[0], Width: hc.ConsoleSize[1]}
	}
	if !hc.UTSMode.IsHost() {
		s.Hostname, s.Domainname = c.Hostname, c.Domainname
	}
	if in.UserNS != nil {
		s.Linux.UIDMappings, s.Linux.GIDMappings = in.UserNS.UIDs, in.UserNS.GIDs
	}
	return s, nil
}

// Caps gives a process exactly caps.
func Caps(caps []string) *specs.LinuxCapabilities {
	return &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
}

// Env is the environment of a container's processes: the engine's, then the container's over it.
func Env(r *record.Record) []string {
	env := []string{"PATH=" + DefaultPath, "HOSTNAME=" + r.Config.Hostname}
	if r.Config.Tty {
		env = append(env, "TERM=xterm")
	}
	return ReplaceEnv(env, r.Config.Env)
}

// ReplaceEnv lays over on base. A name without "=" removes the variable.
func ReplaceEnv(base, over []string) []string {
	out := slices.Clone(base)
	at := make(map[string]int, len(out))
	for i, kv := range out {
		name, _, _ := strings.Cut(kv, "=")
		at[name] = i
	}
	for _, kv := range over {
		name, _, has := strings.Cut(kv, "=")
		i, known := at[name]
		switch {
		case !has && known:
			out[i] = ""
		case !has:
		case known:
			out[i] = kv
		default:
			at[name] = len(out)
			out = append(out, kv)
		}
	}
	return slices.DeleteFunc(out, func(kv string) bool { return kv == "" })
}

// Rlimits are the asked limits and the defaults that none was asked for.
func Rlimits(asked []*container.Ulimit, defaults map[string]*container.Ulimit) []specs.POSIXRlimit {
	var out []specs.POSIXRlimit
	seen := map[string]bool{}
	add := func(u *container.Ulimit) {
		if seen[u.Name] {
			return
		}
		seen[u.Name] = true
		out = append(out, specs.POSIXRlimit{
			Type: "RLIMIT_" + strings.ToUpper(u.Name), Soft: uint64(u.Soft), Hard: uint64(u.Hard),
		})
	}
	for _, u := range asked {
		add(u)
	}
	for _, u := range defaults {
		add(u)
	}
	slices.SortFunc(out, func(a, b specs.POSIXRlimit) int { return cmp.Compare(a.Type, b.Type) })
	return out
}

func namespaces(in Input) []specs.LinuxNamespace {
	hc := in.Record.HostConfig
	ns := []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	join := func(t specs.LinuxNamespaceType, file string, pid int) {
		n := specs.LinuxNamespace{Type: t}
		if pid != 0 {
			n.Path = fmt.Sprintf("/proc/%d/ns/%s", pid, file)
		}
		ns = append(ns, n)
	}
	if in.UserNS != nil {
		ns = append(ns, specs.LinuxNamespace{Type: specs.UserNamespace, Path: in.UserNS.Path})
	}
	if in.NetNS {
		join(specs.NetworkNamespace, "net", 0)
	}
	if !hc.UTSMode.IsHost() {
		join(specs.UTSNamespace, "uts", 0)
	}
	if !hc.IpcMode.IsHost() {
		join(specs.IPCNamespace, "ipc", in.IpcOf)
	}
	if !hc.PidMode.IsHost() {
		join(specs.PIDNamespace, "pid", in.PidOf)
	}
	if hc.CgroupnsMode.IsPrivate() {
		join(specs.CgroupNamespace, "cgroup", 0)
	}
	return ns
}

// JoinedNamespaces are those that a container's further processes enter: all
// that it does not share with the host.
func JoinedNamespaces(hc *container.HostConfig) []specs.LinuxNamespaceType {
	var out []specs.LinuxNamespaceType
	r := &record.Record{HostConfig: hc}
	for _, n := range namespaces(Input{Record: r, NetNS: !hc.NetworkMode.IsHost()}) {
		out = append(out, n.Type)
	}
	return out
}

// sysctls adds what Docker gives containers with a network of their own: low
// ports and ping need no privilege there.
func sysctls(in Input) map[string]string {
	hc := in.Record.HostConfig
	out := map[string]string{}
	if in.NetNS && !hc.NetworkMode.IsContainer() {
		out["net.ipv4.ip_unprivileged_port_start"] = "0"
		if in.UserNS == nil {
			out["net.ipv4.ping_group_range"] = "0 2147483647"
		}
	}
	for k, v := range hc.Sysctls {
		out[strings.ReplaceAll(k, "/", ".")] = v
	}
	return out
}

// mounts are the kernel's file systems, then the engine's files and the
// person's mounts, parents before children.
func mounts(in Input) []specs.Mount {
	own := userMounts(in)
	taken := map[string]bool{}
	for _, m := range own {
		taken[m.Destination] = true
	}
	// A /dev of the person's own has all below it, too.
	all := slices.DeleteFunc(kernelMounts(in), func(m specs.Mount) bool {
		return taken[m.Destination] || taken["/dev"] && strings.HasPrefix(m.Destination, "/dev/")
	})
	slices.SortStableFunc(own, func(a, b specs.Mount) int {
		return cmp.Compare(depth(a.Destination), depth(b.Destination))
	})
	return append(all, own...)
}

func depth(p string) int {
	if p == "/" {
		return 0
	}
	return strings.Count(filepath.Clean(p), "/")
}

func kernelMounts(in Input) []specs.Mount {
	hc := in.Record.HostConfig
	sys := []string{"nosuid", "noexec", "nodev"}
	cg := slices.Clone(sys)
	if !hc.Privileged {
		sys = append(sys, "ro")
		if !in.Security.WritableCgroups {
			cg = append(cg, "ro")
		}
	}
	all := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: sys},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: cg},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
	}
	if in.UserNS != nil && hc.IpcMode.IsHost() {
		// Its message queues belong to the host's root.
		all = slices.DeleteFunc(all, func(m specs.Mount) bool { return m.Type == "mqueue" })
	}
	switch {
	case hc.IpcMode.IsNone():
	case in.Shm != "":
		all = append(all, specs.Mount{Destination: "/dev/shm", Type: "bind", Source: in.Shm, Options: []string{"rbind", "rprivate"}})
	default:
		all = append(all, specs.Mount{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{
			"nosuid", "noexec", "nodev", "mode=1777", fmt.Sprintf("size=%d", hc.ShmSize),
		}})
	}
	return all
}

func userMounts(in Input) []specs.Mount {
	var out []specs.Mount
	for _, m := range in.Record.Mounts {
		if m.Type == "tmpfs" {
			out = append(out, specs.Mount{Destination: m.Destination, Type: "tmpfs", Source: "tmpfs", Options: m.TmpfsOptions})
			continue
		}
		out = append(out, specs.Mount{Destination: m.Destination, Type: "bind", Source: m.Source, Options: bindOptions(in, m)})
	}
	if in.Files == "" {
		return out
	}
	for _, f := range []string{"resolv.conf", "hostname", "hosts"} {
		dst := "/etc/" + f
		if slices.ContainsFunc(out, func(m specs.Mount) bool { return m.Destination == dst }) {
			continue
		}
		opts := []string{"rbind", "rprivate"}
		if in.UserNS != nil {
			opts = append(opts, "idmap")
		}
		if in.Record.HostConfig.ReadonlyRootfs {
			opts = append(opts, "ro")
		}
		out = append(out, specs.Mount{Destination: dst, Type: "bind", Source: filepath.Join(in.Files, f), Options: opts})
	}
	return out
}

// bindOptions: a volume has the container's own ids on disk, so that it is of
// use with and without a user namespace; a host's directory only where asked for.
func bindOptions(in Input, m record.Mount) []string {
	opts := []string{"rbind"}
	if m.NonRecursive {
		opts[0] = "bind"
	}
	opts = append(opts, cmp.Or(string(m.Propagation), "rprivate"))
	if in.UserNS != nil && (m.Type == "volume" || m.IDMap) {
		opts = append(opts, "idmap")
	}
	switch {
	case m.RW:
	case m.NonRecursive, m.ReadOnlyNonRecursive:
		opts = append(opts, "ro")
	default:
		// What is mounted below the source is read-only, too.
		opts = append(opts, "ro", "rro")
	}
	return opts
}
