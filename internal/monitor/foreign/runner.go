// Package foreign runs containers by other OCI runtimes, with the monitor as
// the parent of their processes all the same: it writes the bundle, calls the
// runtime's commands, and takes over the process that the runtime leaves behind.
//
// The root file system and everything else that is handed over as a descriptor
// has a path only in a mount namespace that the runtime's "create" alone is in:
// nothing is ever mounted where the host can see it, and nothing has to be
// unmounted, whoever is killed at whatever moment.
package foreign

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"hoy/internal/monitor"
	"hoy/internal/runtime"
	"hoy/internal/runtime/cgroup/tidy"
)

// How long a runtime's commands may take. Hooks and the checks of a slow disk
// are in createTime.
const (
	createTime = 2 * time.Minute
	startTime  = time.Minute
	deleteTime = 30 * time.Second
)

// Runner holds the containers of other runtimes. Make it with Open.
type Runner struct {
	dir string
	log *slog.Logger
	// track marks the time in which the monitor has a child that is in no table.
	track func() (done func())
	adopt func() error

	work sync.WaitGroup
	mu   sync.Mutex
	held map[string]*container
}

// container is what a runtime keeps of one container, from before its create
// until after its delete.
type container struct {
	id      string
	dir     string
	runtime monitor.Runtime
	// procs are the cgroup.procs files that its processes belong in, and joins
	// says whether the runtime puts them there itself.
	procs []string
	joins bool
	// group is the name of the cgroup.
	group string
	// turn is held by create and delete.
	turn sync.Mutex
}

// Options of Open.
type Options struct {
	// Dir is the directory for bundles and the runtimes' state.
	Dir string
	Log *slog.Logger
	// Track is called before the monitor gets a child that its table does not
	// know; what it returns when that is over.
	Track func() (done func())
	// Adopt makes the monitor the parent of what runtimes leave behind; it is
	// called before each start.
	Adopt func() error
	// Held are containers that a program before this one has started, and that
	// go on.
	Held []Container
}

// Container is what a successor must know of one that goes on.
type Container struct {
	ID      string          `json:"id"`
	Runtime monitor.Runtime `json:"runtime"`
	Procs   []string        `json:"procs,omitempty"`
	Joins   bool            `json:"joins,omitempty"`
	Group   string          `json:"group,omitempty"`
}

// Open makes a Runner, and begins to remove what a monitor that was killed has
// left in the directory.
func Open(opt Options) *Runner {
	r := &Runner{dir: opt.Dir, log: opt.Log, track: opt.Track, adopt: opt.Adopt, held: map[string]*container{}}
	for _, h := range opt.Held {
		r.held[h.ID] = &container{id: h.ID, dir: filepath.Join(opt.Dir, h.ID), runtime: h.Runtime, procs: h.Procs, joins: h.Joins, group: h.Group}
	}
	entries, err := os.ReadDir(opt.Dir)
	if err != nil {
		return r // nothing was ever run
	}
	for _, e := range entries {
		if slices.ContainsFunc(opt.Held, func(h Container) bool { return h.ID == e.Name() }) {
			continue
		}
		c := &container{id: e.Name(), dir: filepath.Join(opt.Dir, e.Name())}
		data, err := os.ReadFile(c.path(runtimeFile))
		if err == nil {
			err = json.Unmarshal(data, &c.runtime)
		}
		if err != nil {
			r.log.Warn("a container's runtime is not known; its state is removed without it", "container", c.id, "error", err)
		}
		r.held[c.id] = c
		r.work.Go(func() { r.Remove(c.id) })
	}
	return r
}

// Held is what a successor must know of a container; nil where it is none of ours.
func (r *Runner) Held(id string) *Container {
	c := r.find(id)
	if c == nil {
		return nil
	}
	return &Container{c.id, c.runtime, c.procs, c.joins, c.group}
}

// HeldAll lists the containers for a successor; none is being started.
func (r *Runner) HeldAll() []Container {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []Container
	for _, c := range r.held {
		list = append(list, Container{c.id, c.runtime, c.procs, c.joins, c.group})
	}
	return list
}

// Wait returns when no removal is under way.
func (r *Runner) Wait() { r.work.Wait() }

// Holds says whether a container was started here and not been removed.
func (r *Runner) Holds(id string) bool { return r.find(id) != nil }

func (r *Runner) find(id string) *container {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held[id]
}

// The files of a container's directory, which is its bundle.
const (
	configFile  = "config.json"
	runtimeFile = "runtime.json"
	pidFile     = "pid"
	rootDir     = "rootfs"
	netnsFile   = "netns"
	sourcesDir  = "sources"
	stateDir    = "state"
)

func (c *container) path(name string) string { return filepath.Join(c.dir, name) }

// Start starts a container's first process by a runtime. Its error is a
// *runtime.StartError; nothing is left behind then.
func (r *Runner) Start(rt monitor.Runtime, l *runtime.Launch) (_ *runtime.Process, err error) {
	if err := r.adopt(); err != nil {
		return nil, fail("become the parent of "+rt.Name+"'s processes", err)
	}
	r.Remove(l.ID) // of a former run that was not forgotten
	c := &container{id: l.ID, dir: filepath.Join(r.dir, l.ID), runtime: rt, procs: l.CgroupProcs}
	if l.Spec != nil && l.Spec.Linux != nil {
		c.group = l.Spec.Linux.CgroupsPath
	}
	c.turn.Lock()
	defer c.turn.Unlock()
	r.mu.Lock()
	r.held[c.id] = c
	r.mu.Unlock()
	defer func() {
		if err != nil {
			r.remove(c)
		}
	}()
	if err := c.make(); err != nil {
		return nil, fail("write bundle", err)
	}
	b, err := newBundle(c, l)
	if err != nil {
		return nil, err
	}
	defer b.close()
	p, err := r.create(c, b, l)
	if err != nil {
		return nil, err
	}
	p.Warnings = b.portable.Warnings
	if err := r.call(c, startTime, "start", c.id); err != nil {
		p.close()
		return nil, failure(c.runtime, "start", b.portable.Process.Args, err)
	}
	return &p.Process, nil
}

// make makes the container's directory.
func (c *container) make() error {
	// The root of a user namespace must be able to go through, not to look.
	if err := os.MkdirAll(c.dir, 0o711); err != nil {
		return err
	}
	if err := os.Chmod(filepath.Dir(c.dir), 0o711); err != nil { //nolint:gosec // see above
		return err
	}
	for dir, mode := range map[string]os.FileMode{rootDir: 0o711, sourcesDir: 0o711, stateDir: 0o700} {
		if err := os.Mkdir(c.path(dir), mode); err != nil {
			return err
		}
	}
	return c.write(runtimeFile, c.runtime)
}

// write puts v into a file of the directory, which does not outlive the machine.
func (c *container) write(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(c.path(name), data, 0o600) //nolint:forbidigo // of no use after a crash
}

// process is a process that a runtime has left to the monitor.
type process struct{ runtime.Process }

// close gives up a process that is not going to run.
func (p *process) close() {
	_ = unix.PidfdSendSignal(int(p.PidFD.Fd()), unix.SIGKILL, nil, 0)
	_ = p.PidFD.Close() // the process itself is an orphan like others now
	if p.Console != nil {
		_ = p.Console.Close()
	}
}

// create runs the runtime's create in its mount namespace.
func (r *Runner) create(c *container, b *bundle, l *runtime.Launch) (*process, error) {
	args := []string{"create", "--bundle", c.dir, "--pid-file", c.path(pidFile)}
	cmd := call{container: c, limit: createTime, stdio: l.Stdio, in: b.enter}
	var console *console
	if b.portable.Process.Terminal {
		var err error
		if console, err = listen(c, "tty"); err != nil {
			return nil, fail("make terminal", err)
		}
		defer console.close()
		args, cmd.stdio = append(args, "--console-socket", console.path), [3]*os.File{}
	}
	cmd.args = append(args, c.id)
	if err := r.run(cmd); err != nil {
		return nil, failure(c.runtime, "create", b.portable.Process.Args, err)
	}
	p, err := r.take(c, pidFile, console)
	if err != nil {
		return nil, err
	}
	if c.joins, err = join(c.procs, p.Pid); err != nil {
		p.close()
		return nil, fail("enter cgroup", err)
	}
	return p, nil
}

// take finds the process that a runtime has left behind.
func (r *Runner) take(c *container, pidFile string, console *console) (_ *process, err error) {
	step := "take over " + c.runtime.Name + "'s process"
	text, err := os.ReadFile(c.path(pidFile))
	if err != nil {
		return nil, fail(step, err)
	}
	p := new(process)
	if p.Pid, err = strconv.Atoi(strings.TrimSpace(string(text))); err != nil || p.Pid <= 1 {
		return nil, fail(step, fmt.Errorf("%q is not a process number", text))
	}
	fd, err := unix.PidfdOpen(p.Pid, 0)
	if err != nil {
		return nil, fail(step, fmt.Errorf("pid %d: %w", p.Pid, err))
	}
	p.PidFD = os.NewFile(uintptr(fd), "pidfd")
	// A process that is not our child can be neither waited for nor held by its number.
	if err := unix.Waitid(unix.P_PIDFD, fd, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err != nil {
		_ = p.PidFD.Close()
		return nil, fail(step, fmt.Errorf("pid %d has another parent: %w", p.Pid, err))
	}
	if console != nil {
		if p.Console, err = console.receive(); err != nil {
			p.close()
			return nil, fail("receive terminal", err)
		}
	}
	return p, nil
}

// Exec starts a further process in a container that Holds knows.
func (r *Runner) Exec(e *runtime.Exec, name string) (*runtime.Process, error) {
	c := r.find(e.ID)
	if c == nil {
		return nil, fail("find container", unix.ESRCH)
	}
	portable, err := runtime.PortableExec(e)
	if err != nil {
		return nil, err
	}
	name = "exec-" + name
	spec, pid := name+".json", name+".pid"
	defer func() {
		for _, f := range []string{spec, pid} {
			_ = os.Remove(c.path(f))
		}
	}()
	if err := c.write(spec, portable.Process); err != nil {
		return nil, fail("write process", err)
	}
	args := []string{"exec", "--process", c.path(spec), "--pid-file", c.path(pid), "--detach"}
	cmd := call{container: c, limit: createTime, stdio: e.Stdio}
	if !c.joins {
		cmd.in = c.enterGroups
	}
	var console *console
	if portable.Process.Terminal {
		if console, err = listen(c, name+".tty"); err != nil {
			return nil, fail("make terminal", err)
		}
		defer console.close()
		args, cmd.stdio = append(args, "--console-socket", console.path), [3]*os.File{}
	}
	cmd.args = append(args, c.id)
	if err := r.run(cmd); err != nil {
		return nil, failure(c.runtime, "exec", portable.Process.Args, err)
	}
	p, err := r.take(c, pid, console)
	if err != nil {
		return nil, err
	}
	p.Warnings = portable.Warnings
	return &p.Process, nil
}

// Remove has the runtime forget a container that has ended, and removes its
// directory. An unknown one is no error.
func (r *Runner) Remove(id string) {
	c := r.find(id)
	if c == nil {
		return
	}
	c.turn.Lock()
	defer c.turn.Unlock()
	if r.find(id) == c {
		r.remove(c)
	}
}

func (r *Runner) remove(c *container) {
	if _, err := os.Stat(c.path(filepath.Join(stateDir, c.id))); err == nil && c.runtime.Path != "" {
		if err := r.call(c, deleteTime, "delete", "--force", c.id); err != nil {
			r.log.Warn("a runtime does not delete a container", "container", c.id, "runtime", c.runtime.Name, "error", err)
		}
	}
	if len(c.procs) > 0 {
		tidy.Parents(c.group, filepath.Dir(c.procs[0]))
	}
	// Only an empty directory: it must not be the way into a root file system.
	err := os.Remove(c.path(rootDir))
	if err == nil || errors.Is(err, os.ErrNotExist) {
		err = os.RemoveAll(c.dir)
	}
	if err != nil {
		r.log.Error("a container's bundle is not removed", "container", c.id, "error", err)
	}
	r.mu.Lock()
	delete(r.held, c.id)
	r.mu.Unlock()
}

// call runs a command that gives the container nothing.
func (r *Runner) call(c *container, limit time.Duration, args ...string) error {
	return r.run(call{container: c, limit: limit, args: args})
}

// run runs a command of a runtime to its end.
func (r *Runner) run(cl call) error {
	defer r.track()()
	ctx, cancel := context.WithTimeout(context.Background(), cl.limit)
	defer cancel()
	return cl.run(ctx)
}

func fail(step string, err error) *runtime.StartError {
	return &runtime.StartError{Step: step, Err: err}
}
