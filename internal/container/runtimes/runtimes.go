// Package runtimes knows the OCI runtimes that containers may name: the
// built-in one, those of the configuration, the machine's runc, and any program
// by its path.
package runtimes

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/errdefs"

	"hoy/internal/monitor"
)

// BuiltIn is the name of our own runtime.
const BuiltIn = "hoy"

// Stock are Docker's names for the runtime that is there without being
// configured, which clients write into containers. They mean the machine's runc
// or, where there is none, the built-in one.
var Stock = []string{"runc", "io.containerd.runc.v2"}

// Runtime is one of the configuration.
type Runtime struct {
	// Path of the program, or its name in PATH.
	Path string
	Args []string
}

// Table is what there is. It may be set anew at any time. The nil Table has the
// built-in runtime alone.
type Table struct {
	// self is the path of the built-in one's program.
	self string

	mu          sync.Mutex
	list        map[string]Runtime
	defaultName string
	// runc is the path of the machine's own; empty where there is none.
	runc  string
	facts map[string]facts
}

// New makes a table with the built-in runtime, whose program is at self.
func New(self string) *Table {
	return &Table{self: self, defaultName: BuiltIn, facts: map[string]facts{}}
}

// Set takes what the configuration says, and looks for the machine's runc.
func (t *Table) Set(list map[string]Runtime, defaultName string) {
	runc, err := exec.LookPath("runc")
	if err != nil {
		runc = ""
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.list, t.defaultName, t.runc = maps.Clone(list), defaultName, runc
}

// Default is the name of the runtime of containers that name none.
func (t *Table) Default() string {
	if t == nil {
		return BuiltIn
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.defaultName
}

// Find gives the runtime of a name; nil is the built-in one. The error, in
// Docker's words, is InvalidArgument.
func (t *Table) Find(name string) (*monitor.Runtime, error) {
	if name == "" || name == BuiltIn {
		return nil, nil
	}
	rt, ok := t.lookup(name)
	if !ok {
		return nil, unknown(name, "")
	}
	if rt.Path == "" {
		return nil, nil
	}
	path, err := program(rt.Path)
	if err != nil {
		return nil, unknown(name, err.Error())
	}
	return &monitor.Runtime{Name: name, Path: path, Args: rt.Args}, nil
}

// lookup finds a name; an empty path is the built-in runtime.
func (t *Table) lookup(name string) (Runtime, bool) {
	if filepath.IsAbs(name) {
		return Runtime{Path: name}, true
	}
	if t == nil {
		return Runtime{}, slices.Contains(Stock, name)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if rt, ok := t.list[name]; ok {
		return rt, true
	}
	if slices.Contains(Stock, name) {
		return Runtime{Path: t.runc}, true
	}
	return Runtime{}, false
}

// program is the absolute path of something that can be executed.
func program(path string) (string, error) {
	found, err := exec.LookPath(path)
	if err != nil {
		if inner := errors.Unwrap(err); inner != nil {
			err = inner
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = os.ErrNotExist
		}
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return filepath.Abs(found)
}

func unknown(name, why string) error {
	text := "unknown or invalid runtime name: " + name
	switch {
	case why != "":
		text += ": " + why
	case strings.HasPrefix(name, "io.containerd."):
		text += ": it is a shim of containerd; OCI runtimes alone are supported: put the runtime's own program under \"runtimes\" in the configuration, or name its path"
	}
	return errdefs.ErrInvalidArgument.WithMessage(text)
}
