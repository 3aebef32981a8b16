package become

import (
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"hoy/internal/runtime/program"
)

// InsideRoot checks that the working directory has a path, and sets the umask;
// "(unreachable)" is what the kernel puts before one that leads out of the root.
func InsideRoot(p *program.Program, umask *uint32) {
	// getcwd answers with up to PATH_MAX bytes; the check looks at the first.
	buf := new([unix.PathMax/8 + 1]uint64)
	p.Call(unix.SYS_GETCWD, program.Mem(&buf[0], "dir"), program.Num(unix.PathMax))
	p.Check(`dir begins with "/"`, &buf[0], 0xff, '/', unix.ENOENT)
	if umask != nil {
		p.Call(unix.SYS_UMASK, program.Flag(*umask, fmt.Sprintf("%#o", *umask)))
	}
}

// DefaultPath is searched where the environment has no PATH.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// lookCommand finds the command as the user will see it, before the filter:
// a register then holds the path to execute.
func (b *Becoming) lookCommand() error {
	name := b.Args[0]
	b.Step("exec:", fmt.Sprintf("%q", name))
	b.path = b.Given("command", 0)
	found := b.Label()
	if strings.Contains(name, "/") {
		dir := b.Label()
		fd := b.FD("dir")
		b.Call(unix.SYS_FACCESSAT, program.CWD(), program.Str(name), program.Flag(unix.X_OK, "X_OK"))
		b.Call(unix.SYS_OPENAT, program.CWD(), program.Str(name), program.Flag(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, "O_PATH|O_DIRECTORY"), program.Num(0)).Into(fd).OK(dir).Tolerate()
		b.Set(b.path, program.Str(name)).OK(found)
		b.Here(dir)
		b.Fail(unix.EISDIR)
		b.Here(found)
		return nil
	}
	for _, in := range strings.Split(b.searchPath(), ":") {
		if !path.IsAbs(in) || name == "" {
			continue
		}
		next, file := b.Label(), program.Str(path.Join(in, name))
		fd := b.FD("dir")
		b.Call(unix.SYS_FACCESSAT, program.CWD(), file, program.Flag(unix.X_OK, "X_OK")).Err(next)
		b.Call(unix.SYS_OPENAT, program.CWD(), file, program.Flag(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, "O_PATH|O_DIRECTORY"), program.Num(0)).Into(fd).OK(next).Tolerate()
		b.Set(b.path, file).OK(found)
		b.Here(next)
	}
	b.Fail(unix.ENOENT)
	b.Here(found)
	return nil
}

func (b *Becoming) searchPath() string {
	for i := len(b.Process.Env) - 1; i >= 0; i-- {
		if value, ok := strings.CutPrefix(b.Process.Env[i], "PATH="); ok {
			return value
		}
	}
	return DefaultPath
}

// command becomes the container's command.
func (b *Becoming) command() {
	args := b.Args
	b.Step("exec", args[0])
	env := b.environment()
	b.Call(unix.SYS_EXECVE, program.R(b.path), program.Strings(args, fmt.Sprintf("%q", args)),
		program.Strings(env, fmt.Sprintf("[%d variables]", len(env))))
}

// environment is the spec's, with HOME from the user's entry where it has none.
func (b *Becoming) environment() []string {
	for _, e := range b.Process.Env {
		if strings.HasPrefix(e, "HOME=") {
			return b.Process.Env
		}
	}
	home := b.User.Home
	if home == "" {
		home = "/"
	}
	return append(b.Process.Env[:len(b.Process.Env):len(b.Process.Env)], "HOME="+home)
}

// Resources are the numbers of resource limits by name.
var Resources = map[string]int{
	"RLIMIT_CPU": unix.RLIMIT_CPU, "RLIMIT_FSIZE": unix.RLIMIT_FSIZE, "RLIMIT_DATA": unix.RLIMIT_DATA,
	"RLIMIT_STACK": unix.RLIMIT_STACK, "RLIMIT_CORE": unix.RLIMIT_CORE, "RLIMIT_RSS": unix.RLIMIT_RSS,
	"RLIMIT_NPROC": unix.RLIMIT_NPROC, "RLIMIT_NOFILE": unix.RLIMIT_NOFILE, "RLIMIT_MEMLOCK": unix.RLIMIT_MEMLOCK,
	"RLIMIT_AS": unix.RLIMIT_AS, "RLIMIT_LOCKS": unix.RLIMIT_LOCKS, "RLIMIT_SIGPENDING": unix.RLIMIT_SIGPENDING,
	"RLIMIT_MSGQUEUE": unix.RLIMIT_MSGQUEUE, "RLIMIT_NICE": unix.RLIMIT_NICE, "RLIMIT_RTPRIO": unix.RLIMIT_RTPRIO,
	"RLIMIT_RTTIME": unix.RLIMIT_RTTIME,
}

// limits sets resource limits, after the last file was opened. A hard limit
// above ours needs CAP_SYS_RESOURCE; without it ours is the highest there is.
func (b *Becoming) limits() error {
	for _, l := range b.Process.Rlimits {
		n, ok := Resources[l.Type]
		if !ok {
			return fmt.Errorf("unknown resource limit %q", l.Type)
		}
		if l.Soft > l.Hard {
			return fmt.Errorf("%s: soft limit %d is above hard limit %d", l.Type, l.Soft, l.Hard)
		}
		lim := &unix.Rlimit{Cur: l.Soft, Max: l.Hard}
		if !b.CanRaise {
			if most := b.Limits(n); lim.Max > most {
				b.Warn("%s: this machine does not let the limit be raised from %d to %d; it stays at %d", l.Type, most, l.Hard, most)
				lim.Max, lim.Cur = most, min(lim.Cur, most)
			}
		}
		b.Step("set limit", l.Type)
		b.Call(unix.SYS_PRLIMIT64, program.Num(0), program.Flag(n, l.Type), program.Mem(lim, fmt.Sprintf("{%d, %d}", lim.Cur, lim.Max)), program.Num(0))
	}
	return nil
}
