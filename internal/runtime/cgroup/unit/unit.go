// Package unit makes control groups through systemd: each is a scope, a
// transient unit that systemd keeps, limits and forgets again. It is spoken to
// over its own socket, or over the system bus where that is not to be had.
package unit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	sd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/cgroup/tree"
	"hoy/internal/runtime/program"
)

// jobTime bounds how long systemd may take for one job.
const jobTime = 30 * time.Second

// Running says whether systemd is this machine's init.
func Running() bool {
	fi, err := os.Lstat("/run/systemd/system")
	return err == nil && fi.IsDir()
}

// bus is the connection that all units of this process share.
var bus struct {
	sync.Mutex
	conn    *sd.Conn
	version int
}

// connect gives the connection, made again where systemd or its bus was restarted.
func connect(ctx context.Context) (*sd.Conn, int, error) {
	bus.Lock()
	defer bus.Unlock()
	if bus.conn != nil && bus.conn.Connected() {
		return bus.conn, bus.version, nil
	}
	if bus.conn != nil {
		bus.conn.Close()
		bus.conn = nil
	}
	// The connection outlives the call that first needs it.
	ctx = context.WithoutCancel(ctx)
	conn, err := sd.NewSystemdConnectionContext(ctx)
	if err != nil {
		var busErr error
		if conn, busErr = sd.NewSystemConnectionContext(ctx); busErr != nil {
			return nil, 0, fmt.Errorf("connect to systemd: %w", errors.Join(err, busErr))
		}
	}
	text, err := conn.GetManagerProperty("Version")
	if err != nil {
		conn.Close()
		return nil, 0, fmt.Errorf("ask systemd for its version: %w", err)
	}
	bus.conn, bus.version = conn, number(text)
	return bus.conn, bus.version, nil
}

// number is the first number of a version such as "252.38-1~deb12u1", in quotes or not.
func number(text string) int {
	text = strings.TrimLeft(text, `"v`)
	end := strings.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	if end >= 0 {
		text = text[:end]
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return n
}

// Scope is one container's unit.
type Scope struct {
	// Name such as "hoy-ID.scope", in Slice such as "system.slice".
	Name, Slice string
	Tree        *tree.Tree

	mu   sync.Mutex
	hold *program.Child
	pipe *program.Program
}

// Start makes the scope, limited as r says. A scope has to have a process when
// it is made: a child of ours waits in it until Joined is called.
func (s *Scope) Start(r *specs.LinuxResources) error {
	ctx, cancel := context.WithTimeout(context.Background(), jobTime)
	defer cancel()
	conn, version, err := connect(ctx)
	if err != nil {
		return err
	}
	limits, err := Properties(r, s.Tree, version)
	if err != nil {
		return err
	}
	pid, err := s.holder()
	if err != nil {
		return fmt.Errorf("hold the scope %s: %w", s.Name, err)
	}
	props := append([]sd.Property{
		sd.PropDescription("hoy container " + s.Name), sd.PropSlice(s.Slice), prop("PIDs", []uint32{uint32(pid)}),
		// What is below the scope is not systemd's: it may not move or limit it.
		prop("Delegate", true), prop("DefaultDependencies", false),
		prop("MemoryAccounting", true), prop("CPUAccounting", true), prop("TasksAccounting", true),
		prop(map[bool]string{true: "IOAccounting", false: "BlockIOAccounting"}[s.Tree.Unified()], true),
	}, limits...)
	if version >= 236 {
		// A scope that failed is forgotten like one that ended.
		props = append(props, prop("CollectMode", "inactive-or-failed"))
	}
	for try := 0; ; try++ {
		err = job(ctx, func(done chan<- string) error {
			_, err := conn.StartTransientUnitContext(ctx, s.Name, "fail", props, done)
			return err
		})
		if !named(err, "UnitExists") || try > 0 {
			break
		}
		// One that failed before, of an old systemd, keeps its name until it is reset.
		_ = conn.ResetFailedUnitContext(ctx, s.Name)
	}
	if err != nil {
		s.Joined()
		if named(err, "UnitExists") {
			return errdefs.ErrAlreadyExists.WithMessage("the systemd unit " + s.Name + " exists")
		}
		return fmt.Errorf("make the scope %s: %w", s.Name, err)
	}
	return nil
}

// job runs one that reports on done.
func job(ctx context.Context, start func(done chan<- string) error) error {
	done := make(chan string, 1)
	if err := start(done); err != nil {
		return err
	}
	select {
	case result := <-done:
		if result != "done" {
			return errors.New("systemd answered: " + result)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("systemd does not answer: %w", ctx.Err())
	}
}

func named(err error, name string) bool {
	var e dbus.Error
	return errors.As(err, &e) && e.Name == "org.freedesktop.systemd1."+name
}

// holder forks a child that waits for the end of its socket, and so ends with us.
func (s *Scope) holder() (int, error) {
	p := program.New(false)
	p.Fork()
	p.Step("hold", s.Name)
	p.Signals()
	p.Wait()
	if err := p.Prepare(); err != nil {
		p.Close()
		return 0, err
	}
	child, err := p.Start(0, -1)
	if err != nil {
		p.Close()
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold, s.pipe = child, p
	return child.Pid, nil
}

// Joined ends the child that holds the scope: it has a process of its own now.
func (s *Scope) Joined() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hold != nil {
		s.hold.Kill()
		s.pipe.Close()
		s.hold, s.pipe = nil, nil
	}
}

// Holds says whether pid is the child that holds the scope.
func (s *Scope) Holds(pid int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hold != nil && s.hold.Pid == pid
}

// Update changes limits of the unit, until the next boot at most.
func (s *Scope) Update(r *specs.LinuxResources) error {
	ctx, cancel := context.WithTimeout(context.Background(), jobTime)
	defer cancel()
	conn, version, err := connect(ctx)
	if err != nil {
		return err
	}
	props, err := Properties(r, s.Tree, version)
	if err != nil || len(props) == 0 {
		return err
	}
	if err := conn.SetUnitPropertiesContext(ctx, s.Name, true, props...); err != nil {
		return fmt.Errorf("set properties of %s: %w", s.Name, err)
	}
	return nil
}

// Stop ends the unit and what runs in it. One that is gone is no error.
func (s *Scope) Stop() error {
	s.Joined()
	ctx, cancel := context.WithTimeout(context.Background(), jobTime)
	defer cancel()
	conn, _, err := connect(ctx)
	if err != nil {
		return err
	}
	err = job(ctx, func(done chan<- string) error {
		_, err := conn.StopUnitContext(ctx, s.Name, "replace", done)
		return err
	})
	_ = conn.ResetFailedUnitContext(ctx, s.Name)
	if err != nil && !named(err, "NoSuchUnit") && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("stop %s: %w", s.Name, err)
	}
	return nil
}
