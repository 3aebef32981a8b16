package compile

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"hoy/internal/runtime/program"
)

// prepareMask makes what hides paths, and with it the devices that the child
// may not make.
func prepareMask(b *builder) (err error) {
	fresh, bind := devKind(b)
	b.masked = len(b.lin.MaskedPaths) > 0 || b.dev.NeedsMasks(fresh, bind)
	if b.masked {
		b.Step("prepare masks", "")
		if b.masks, err = b.NewMasks(b.dev.HostID); err != nil {
			return err
		}
	}
	b.dev.Masks = b.masks
	b.dev.Prepare(fresh, bind)
	if b.masked {
		b.masks.Seal()
	}
	return nil
}

// attachMask puts the masks over a directory of the child's copy of the host's
// tree: only a mount of the own namespace can be cloned before Linux 6.15.
func attachMask(b *builder) {
	if !b.masked {
		return
	}
	b.Step("prepare masks", "")
	// Where the host's tree is still to be seen by hooks, the masks lie under the
	// root file system.
	b.Move(program.R(b.masks.FS), program.CWD(), cmp.Or(b.in.RootAt, "/dev"))
}

// hidePaths masks the masked paths and makes the read-only ones read-only.
func hidePaths(b *builder) error {
	if err := on(b.lin.ReadonlyPaths, b.ReadOnly); err != nil {
		return err
	}
	return on(b.lin.MaskedPaths, b.masks.Hide)
}

// sysctls writes kernel parameters through a procfs that is ours by
// construction: the detached mount of before, not a path in the container. The
// host's, where there is none, shows each process its own namespaces' too.
func sysctls(b *builder) error {
	proc := b.hostProc
	if b.hasProc {
		proc = b.procFS
	}
	for _, key := range slices.Sorted(maps.Keys(b.lin.Sysctl)) {
		value := b.lin.Sysctl[key]
		name := strings.ReplaceAll(key, "/", ".")
		if err := b.ns.Sysctl(name); err != nil {
			return err
		}
		b.Step("set sysctl", key+"="+value)
		// In the form with slashes a dot is part of a name, such as a link's.
		file := "sys/" + key
		if !strings.Contains(key, "/") {
			file = "sys/" + strings.ReplaceAll(key, ".", "/")
		}
		if path.Clean(file) != file {
			return fmt.Errorf("sysctl %q is not a name", key)
		}
		fd := b.FD("sysctl")
		b.Open(program.R(proc), file, unix.O_WRONLY, 0, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_XDEV).Into(fd)
		b.Call(unix.SYS_WRITE, program.R(fd), program.Str(value), program.Num(len(value)))
	}
	return nil
}

// hostname names the container in its UTS namespace, be it new or joined.
func hostname(b *builder) error {
	if name := b.spec.Hostname; name != "" {
		b.Step("set hostname", name)
		b.Call(unix.SYS_SETHOSTNAME, program.Str(name), program.Num(len(name)))
	}
	if name := b.spec.Domainname; name != "" {
		b.Step("set domain name", name)
		b.Call(unix.SYS_SETDOMAINNAME, program.Str(name), program.Num(len(name)))
	}
	return nil
}
