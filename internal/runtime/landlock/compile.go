package landlock

import (
	"fmt"

	"golang.org/x/sys/unix"

	"hoy/internal/runtime/program"
)

// attributes is struct landlock_ruleset_attr of linux/landlock.h.
type attributes struct{ fs, net uint64 }

// beneath is struct landlock_path_beneath_attr, which is packed: its size is 12.
type beneath struct {
	access [2]uint32 // a 64-bit word, low half first
	parent int32
}

// portAttributes is struct landlock_net_port_attr.
type portAttributes struct{ access, port uint64 }

const (
	ruleBeneath = 1 // LANDLOCK_RULE_PATH_BENEATH
	rulePort    = 2 // LANDLOCK_RULE_NET_PORT
)

// Prepare compiles the making of the rules. The process is in its root, and
// can still go anywhere in it. Restrict later takes the register.
func (r *Rules) Prepare(p *program.Program, version int) (program.Reg, error) {
	if err := r.Check(version); err != nil {
		return 0, err
	}
	p.Step("prepare landlock", "")
	a, size := &attributes{net: r.net}, 16
	if len(r.paths) > 0 {
		a.fs = handled(version)
	}
	if version < withPorts {
		size = 8
	}
	set := p.FD("rules")
	p.Call(unix.SYS_LANDLOCK_CREATE_RULESET, program.Mem(a, fmt.Sprintf("{files %#x, ports %#x}", a.fs, a.net)), program.Num(size), program.Num(0)).Into(set)
	for _, rule := range r.paths {
		openPath(p, set, rule, a.fs)
	}
	for _, rule := range r.ports {
		port := &portAttributes{rule.access, uint64(rule.port)}
		p.Step("open to landlock", fmt.Sprintf("port %d", rule.port))
		p.Call(unix.SYS_LANDLOCK_ADD_RULE, program.R(set), program.Flag(uint(rulePort), "NET_PORT"),
			program.Mem(port, fmt.Sprintf("{%#x, %d}", rule.access, rule.port)), program.Num(0))
	}
	return set, nil
}

// openPath adds a path, be it a directory or not: which of them, the image and
// the volumes decide.
func openPath(p *program.Program, set program.Reg, rule pathRule, known uint64) {
	p.Step("open to landlock", rule.path)
	fd := p.FD("beneath")
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_MAGICLINKS}
	p.Call(unix.SYS_OPENAT2, program.CWD(), program.Str(rule.path), program.Mem(how, "{O_PATH, NO_MAGICLINKS}"), program.Num(unix.SizeofOpenHow)).Into(fd)
	done, file := p.Label(), p.Label()
	add := func(access uint64) program.Call {
		at := &beneath{access: [2]uint32{uint32(access), uint32(access >> 32)}}
		program.Store(p, &at.parent, fd)
		return p.Call(unix.SYS_LANDLOCK_ADD_RULE, program.R(set), program.Flag(uint(ruleBeneath), "PATH_BENEATH"),
			program.Mem(at, fmt.Sprintf("{%#x}", access)), program.Num(0))
	}
	// A file that is no directory cannot have the rights of one.
	add(rule.access&known).OK(done).Err(file, unix.EINVAL)
	p.Here(file)
	add(rule.access & known & ofFile)
	p.Here(done)
	p.Call(unix.SYS_CLOSE, program.R(fd))
}

// Restrict compiles the closing of all else.
func Restrict(p *program.Program, set program.Reg) {
	p.Step("restrict by landlock", "")
	p.Call(unix.SYS_LANDLOCK_RESTRICT_SELF, program.R(set), program.Num(0))
}
