package start

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/moby/moby/api/types/mount"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/container/config"
	"hoy/internal/container/core"
	"hoy/internal/container/logs"
	"hoy/internal/container/record"
	"hoy/internal/container/spec"
	"hoy/internal/monitor"
	"hoy/internal/runtime"
	"hoy/internal/runtime/source"
	"hoy/internal/runtime/userns"
)

// prepared is what the first stage finds.
type prepared struct {
	spec      *specs.Spec
	resources *specs.LinuxResources
	rootfs    []runtime.RootMount
	seccomp   []byte
	landlock  []string
	// held are directories that the specification names through /proc/PID/fd.
	held []*os.File
	shm  string
	// users is nil where the container's users are the host's.
	users *spec.UserNS
}

// peers are the host pids of the containers whose namespaces are joined, 0 for none.
type peers struct{ net, pid, ipc int }

func (s *Starter) peers(r *record.Record) (p peers, err error) {
	hc := r.HostConfig
	for _, j := range []struct {
		what, ref string
		pid       *int
	}{
		{"network", hc.NetworkMode.ConnectedContainer(), &p.net},
		{"pid", hc.PidMode.Container(), &p.pid},
		{"ipc", hc.IpcMode.Container(), &p.ipc},
	} {
		if j.ref == "" {
			continue
		}
		other, err := s.Index.Find(j.ref)
		if err != nil {
			return p, err
		}
		o := other.Record()
		if o.ID == r.ID {
			return p, core.Invalid("cannot join own %s namespace: %s", j.what, r.ID)
		}
		if !o.State.Phase.HasProcess() {
			return p, core.Conflict("cannot join %s of a non running container: %s", j.what, o.ID)
		}
		if j.pid == &p.ipc && !o.HostConfig.IpcMode.IsShareable() {
			return p, core.Invalid("can't join IPC of container %s: non-shareable IPC (hint: use IpcMode:shareable for the donor container)", j.ref)
		}
		*j.pid = o.State.Pid
	}
	return p, nil
}

func (a *attempt) prepare(ctx context.Context, p peers) error {
	hc := a.r.HostConfig
	sec, err := config.ParseSecurity(hc, a.s.AppArmor)
	if err != nil {
		return err
	}
	if !sec.NoNewPrivilegesSet {
		sec.NoNewPrivileges = a.s.NoNewPrivileges
	}
	if err := Confine(ctx, &sec, hc.Privileged); err != nil {
		return err
	}
	dev, err := spec.HostDevices(hc)
	if err != nil {
		return err
	}
	if a.prep.resources, err = spec.Resources(hc, dev); err != nil {
		return err
	}
	if a.prep.rootfs, err = a.s.Images.Mounts(ctx, a.r.ID); err != nil {
		return fmt.Errorf("root file system: %w", err)
	}
	if a.runtime, err = a.s.Runtimes.Find(hc.Runtime); err != nil {
		return err
	}
	var rules *specs.LinuxSeccomp
	if a.runtime == nil {
		a.prep.seccomp, err = a.s.Filter(a.r, sec)
	} else {
		rules, err = a.s.rules(a.r, sec)
	}
	if err != nil {
		return err
	}
	if err := sec.CheckLandlock(a.runtime == nil); err != nil {
		return err
	}
	a.prep.landlock = sec.Landlock
	r, err := a.sources()
	if err != nil {
		return err
	}
	if err := a.users(p); err != nil {
		return err
	}
	if err := a.shm(); err != nil {
		return err
	}
	in := spec.Input{
		Record: r, Security: sec, Devices: dev, Ulimits: a.s.Ulimits,
		Files: a.files(), Shm: a.prep.shm,
		NetNS: !hc.NetworkMode.IsHost(), PidOf: p.pid, IpcOf: p.ipc, UserNS: a.prep.users,
	}
	if a.prep.spec, err = spec.Build(in); err != nil {
		return err
	}
	a.prep.spec.Linux.Seccomp = rules
	return nil
}

// files is where hosts, hostname and resolv.conf come from.
func (a *attempt) files() string {
	id := a.r.ID
	if ref := a.r.HostConfig.NetworkMode.ConnectedContainer(); ref != "" {
		if other, err := a.s.Index.Find(ref); err == nil {
			id = other.ID
		}
	}
	return a.s.Ledger.Dir(id)
}

// sources checks that what is to be mounted is there, and holds open what must
// not be exchanged until it is mounted.
func (a *attempt) sources() (*record.Record, error) {
	r := *a.r
	r.Mounts = slices.Clone(a.r.Mounts)
	for i := range r.Mounts {
		m := &r.Mounts[i]
		switch {
		case m.Type == mount.TypeTmpfs:
		case m.Subpath != "":
			f, err := openBelow(m.Source, m.Subpath)
			if err != nil {
				return nil, fmt.Errorf("volume %s: cannot access path %s: %w", m.Name, m.Subpath, err)
			}
			a.prep.held = append(a.prep.held, f)
			// The monitor mounts what this descriptor refers to, wherever the names lead by then.
			m.Source = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd())
		default:
			if err := checkSource(m); err != nil {
				return nil, err
			}
		}
	}
	return &r, nil
}

func checkSource(m *record.Mount) error {
	_, err := source.IsDir(m.Source)
	if err == nil {
		return nil
	}
	made := m.Type == mount.TypeVolume || m.Spec == nil || m.Spec.BindOptions != nil && m.Spec.BindOptions.CreateMountpoint
	if errors.Is(err, fs.ErrNotExist) && made {
		err = os.MkdirAll(m.Source, 0o755)
	} else if errors.Is(err, fs.ErrNotExist) {
		return core.Invalid("invalid mount config for type %q: bind source path does not exist: %s", m.Type, m.Source)
	}
	if err != nil {
		return fmt.Errorf("error while creating mount source path '%s': %w", m.Source, err)
	}
	return nil
}

// openBelow opens sub below root without ever leaving it, whatever links say.
func openBelow(root, sub string) (*os.File, error) {
	dir, err := os.OpenFile(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	fd, err := unix.Openat2(int(dir.Fd()), sub, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: sub, Err: err}
	}
	return os.NewFile(uintptr(fd), sub), nil
}

// shm finds or makes the host side of /dev/shm where it is shared.
func (a *attempt) shm() error {
	mode := a.r.HostConfig.IpcMode
	switch {
	case mode.IsHost():
		a.prep.shm = "/dev/shm"
	case mode.IsContainer():
		other, err := a.s.Index.Find(mode.Container())
		if err != nil {
			return err
		}
		a.prep.shm = ShmDir(a.s.Ledger.Dir(other.ID))
	case mode.IsShareable():
		dir := ShmDir(a.s.Ledger.Dir(a.r.ID))
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("shared memory: %w", err)
		}
		ReleaseShm(a.s.Ledger.Dir(a.r.ID))
		opts := fmt.Sprintf("mode=1777,size=%d", a.r.HostConfig.ShmSize)
		if u := a.prep.users; u != nil {
			uid, _ := userns.ToHost(u.UIDs, 0)
			gid, _ := userns.ToHost(u.GIDs, 0)
			opts += fmt.Sprintf(",uid=%d,gid=%d", uid, gid)
		}
		if err := unix.Mount("shm", dir, "tmpfs", unix.MS_NOEXEC|unix.MS_NOSUID|unix.MS_NODEV, opts); err != nil {
			return fmt.Errorf("shared memory: mount tmpfs: %w", err)
		}
		a.prep.shm = dir
	}
	return nil
}

func (a *attempt) releaseShm(context.Context) error {
	ReleaseShm(a.s.Ledger.Dir(a.r.ID))
	return nil
}

// ReleaseShm unmounts a shareable container's /dev/shm, if it is mounted.
func ReleaseShm(dir string) {
	shm := ShmDir(dir)
	if _, err := os.Lstat(shm); err == nil {
		_ = unix.Unmount(shm, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) // EINVAL: it is not mounted
	}
}

func (a *attempt) close() {
	for _, f := range a.prep.held {
		f.Close()
	}
	if a.spaces != nil {
		a.spaces.Close()
	}
	if a.net != nil && a.net.NetNS != nil {
		a.net.NetNS.Close()
	}
}

func (a *attempt) run(ctx context.Context, _ peers) error {
	c, hc := a.r.Config, a.r.HostConfig
	l := &runtime.Launch{
		ID: a.r.ID, Spec: a.prep.spec, Rootfs: a.prep.rootfs, MapRoot: a.prep.users != nil, User: c.User, Groups: hc.GroupAdd,
		Seccomp: a.prep.seccomp, Landlock: a.prep.landlock, CgroupProcs: a.group.Procs(), NetNS: a.net.NetNS,
	}
	if init := hc.Init; init != nil && *init || init == nil && a.s.Init {
		l.Reaper = a.s.Runtime
	}
	if c.Tty {
		l.ConsoleSize = specs.Box{Height: hc.ConsoleSize[0], Width: hc.ConsoleSize[1]}
	}
	req := monitor.StartRequest{ID: monitor.ProcessID{Container: a.r.ID}, Launch: l, Runtime: a.runtime, Stdio: Stdio(a.r)}
	if a.runtime != nil {
		// The group has its limits already; but a runtime may make it anew, and
		// would give it device rules of its own where it is told of none.
		a.prep.spec.Linux.CgroupsPath = a.group.Path()
		a.prep.spec.Linux.Resources = a.prep.resources
	}
	var err error
	if req.Log, err = logs.Config(a.r); err != nil {
		return err
	}
	if req.Note, err = json.Marshal(a.place()); err != nil {
		return fmt.Errorf("network: %w", err)
	}
	if a.started, err = a.s.Monitor.Start(ctx, req); err != nil {
		return err
	}
	// They are about this machine: once said is enough.
	for _, text := range a.started.Warnings {
		if _, said := a.s.warned.LoadOrStore(text, true); !said {
			a.s.Log.Warn("container started with less than asked for", "container", a.r.ID, "reason", text)
		}
	}
	return nil
}

// Stdio is what the monitor keeps for a container's first process.
func Stdio(r *record.Record) monitor.Stdio {
	return monitor.Stdio{Terminal: r.Config.Tty, OpenStdin: r.Config.OpenStdin, StdinOnce: r.Config.StdinOnce}
}
