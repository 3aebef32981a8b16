package runtime

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"hoy/internal/runtime/compile"
	"hoy/internal/runtime/hook"
	"hoy/internal/runtime/namespace"
)

// Hook is a program of the host's that runs in a container's namespaces while
// its first process is in Launch.BeforePivot.
type Hook struct {
	// Target is the host pid of the container's first process.
	Target int
	// Path is looked up in the mount namespace, whose root is the host's still.
	Path string
	// Args hold the name that the program sees as the first.
	Args, Env []string
	Stdio     [3]*os.File
}

// StartHook starts a hook. It returns when the process has become the program,
// or a *StartError.
func StartHook(h *Hook) (*Process, error) {
	fd, err := unix.PidfdOpen(h.Target, 0)
	if err != nil {
		return nil, fail("find container's process", fmt.Errorf("pid %d: %w", h.Target, err))
	}
	pidfd := os.NewFile(uintptr(fd), "pidfd")
	defer pidfd.Close()
	kinds, err := foreign(h.Target)
	if err != nil {
		return nil, fail("find container's process", err)
	}
	j := &joins{target: pidfd, kinds: kinds &^ namespace.Single}
	p, err := hook.Compile(h.Path, h.Args, h.Env, h.Stdio, fd, kinds&namespace.Single)
	if err != nil {
		return nil, fail("read specification", err)
	}
	defer p.Close()
	return launch(&compile.Result{Program: p}, j, nil)
}
