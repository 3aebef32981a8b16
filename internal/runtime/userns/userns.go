// Package userns makes user namespaces ahead of the processes that live in
// them, so that id-mapped mounts and a network namespace can belong to them.
// Such a namespace lives as long as a descriptor or a process holds it.
package userns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"hoy/internal/runtime/program"
)

// Spaces are open namespaces; the caller closes them.
type Spaces struct {
	User *os.File
	// Net belongs to User; nil where none was asked for.
	Net *os.File
}

// Close lets go of the namespaces.
func (s *Spaces) Close() {
	for _, f := range []*os.File{s.User, s.Net} {
		if f != nil {
			_ = f.Close()
		}
	}
}

// Make makes a user namespace with the maps and, where net is set, a network
// namespace whose owner it is.
func Make(m Map, net bool) (*Spaces, error) {
	if err := m.Check(); err != nil {
		return nil, err
	}
	flags := uint64(unix.CLONE_NEWUSER)
	if net {
		flags |= unix.CLONE_NEWNET
	}
	p := program.New(false)
	defer p.Close()
	p.Fork()
	p.Step("hold namespaces", "")
	p.Wait()
	child, err := start(p, flags)
	if err != nil {
		return nil, fmt.Errorf("make user namespace: %w", err)
	}
	// Its end is nothing to wait for.
	defer func() { go child.Kill() }()
	if err := write(child.Pid, m); err != nil {
		return nil, fmt.Errorf("make user namespace: %w", err)
	}
	return open(child.Pid, net)
}

func start(p *program.Program, flags uint64) (*program.Child, error) {
	if err := p.Prepare(); err != nil {
		return nil, err
	}
	return p.Start(flags, -1)
}

func open(pid int, net bool) (*Spaces, error) {
	s := new(Spaces)
	for _, n := range []struct {
		name string
		want bool
		to   **os.File
	}{{"user", true, &s.User}, {"net", net, &s.Net}} {
		if !n.want {
			continue
		}
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, n.name))
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("open %s namespace: %w", n.name, err)
		}
		*n.to = f
	}
	return s, nil
}

// write writes the maps of a process's user namespace. Who may not give away
// other ids than the own one may map groups only after giving up setgroups.
func write(pid int, m Map) error {
	for _, file := range []struct{ name, text string }{{"uid_map", m.text(m.UIDs)}, {"gid_map", m.text(m.GIDs)}} {
		path := fmt.Sprintf("/proc/%d/%s", pid, file.name)
		err := put(path, file.text)
		if file.name == "gid_map" && errors.Is(err, fs.ErrPermission) {
			if err = put(fmt.Sprintf("/proc/%d/setgroups", pid), "deny"); err == nil {
				err = put(path, file.text)
			}
		}
		if err != nil {
			return fmt.Errorf("%s %q: %w", file.name, strings.TrimSpace(file.text), err)
		}
	}
	return nil
}

func put(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}
