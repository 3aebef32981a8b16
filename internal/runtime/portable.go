package runtime

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"hoy/internal/runtime/become"
	"hoy/internal/runtime/compile"
	"hoy/internal/runtime/identity"
)

// Portable is a launch, or an exec, as any OCI runtime takes it: users as
// numbers, the init process as a mount, and nothing asked that this machine
// cannot give.
type Portable struct {
	// Spec of a launch. Its root's path is the caller's to fill in.
	Spec *specs.Spec
	// Process of a launch or an exec.
	Process *specs.Process
	// Root is a launch's root file system, mounted detached; nil for an exec.
	Root *os.File
	// Binds are sources of mounts, by the mount's place in Spec, that are made
	// here because their owners are mapped.
	Binds    map[int]*os.File
	Warnings []string
}

// portableVersion is told to runtimes: some refuse a version that is newer than
// they are, and none needs a newer one to see the fields that it knows.
const portableVersion = "1.0.2"

// Close lets go of the root file system.
func (p *Portable) Close() {
	if p.Root != nil {
		_ = p.Root.Close()
	}
	for _, f := range p.Binds {
		_ = f.Close()
	}
}

// PortableLaunch makes the root file system and the specification of l.
func PortableLaunch(l *Launch) (_ *Portable, err error) {
	if l.Spec == nil || l.Spec.Process == nil || l.Spec.Linux == nil || l.Spec.Root == nil {
		return nil, fail("read specification", errors.New("it has no process, no root or no linux part"))
	}
	p := new(Portable)
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	if err := p.mapRoot(l); err != nil {
		return nil, fail("prepare root file system", err)
	}
	user, err := who(p.Root, l.User, l.Groups, l.Spec.Process.User)
	if err != nil {
		return nil, fail("prepare process", err)
	}
	spec, root := *withProcess(l.Spec, l.ConsoleSize, newInherited()), *l.Spec.Root
	spec.Version = portableVersion
	spec.Root, spec.Mounts = &root, slices.Clone(compile.Mounts(l.Spec, l.Reaper))
	for i := range p.Binds {
		m := &spec.Mounts[i]
		m.Options = slices.DeleteFunc(slices.Clone(m.Options), isIDMap)
	}
	if l.Reaper != "" {
		process := *spec.Process
		process.Args = append([]string{compile.ReaperPath, "--"}, process.Args...)
		spec.Process = &process
	}
	userns := slices.ContainsFunc(spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.UserNamespace })
	if spec.Process, err = p.process(spec.Process, user, userns); err != nil {
		return nil, err
	}
	p.Spec, p.Process = &spec, spec.Process
	return p, nil
}

// PortableExec makes the process of e.
func PortableExec(e *Exec) (*Portable, error) {
	if e.Process == nil {
		return nil, fail("read specification", errors.New("it has no process"))
	}
	t, err := openTarget(e)
	if err != nil {
		return nil, fail("find container's process", err)
	}
	defer t.close()
	user, err := who(t.root, e.User, e.Groups, e.Process.User)
	if err != nil {
		return nil, fail("prepare process", err)
	}
	p := new(Portable)
	spec := withProcess(&specs.Spec{Process: e.Process}, e.ConsoleSize, t.inherited)
	if p.Process, err = p.process(spec.Process, user, len(t.ids.UIDs) > 0); err != nil {
		return nil, err
	}
	return p, nil
}

// process completes asked: a runtime looks nothing up by name, and knows no home.
func (p *Portable) process(asked *specs.Process, user identity.User, userns bool) (*specs.Process, error) {
	var in compile.Input
	if err := power(&in); err != nil {
		return nil, err
	}
	warn := func(format string, args ...any) { p.Warnings = append(p.Warnings, fmt.Sprintf(format, args...)) }
	process := become.Trim(asked, in.Own, userns, in.CanRaise, in.Limits, warn)
	process.User.UID, process.User.GID, process.User.AdditionalGids, process.User.Username = user.UID, user.GID, user.Groups, ""
	if !slices.ContainsFunc(process.Env, func(kv string) bool { return strings.HasPrefix(kv, "HOME=") }) {
		home := user.Home
		if home == "" {
			home = "/"
		}
		process.Env = append(slices.Clip(process.Env), "HOME="+home)
	}
	return process, nil
}
