package runtime

import (
	"fmt"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/compile"
	"hoy/internal/runtime/namespace"
)

// Hook is a program of the host's that runs in a container's namespaces while
// its first process is in Launch.BeforePivot.
type Hook struct {
	// Target is the host pid of the container's first process.
	Target int
	// Namespaces to join, by type: those that Target does not share with the host.
	Namespaces []specs.LinuxNamespaceType
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
	var kinds uint64
	for _, typ := range h.Namespaces {
		kinds |= namespace.Flags[typ]
	}
	in := compile.HookInput{Path: h.Path, Args: h.Args, Env: h.Env, PidFD: fd, Join: kinds & namespace.Single}
	for i, f := range h.Stdio {
		in.Stdio[i] = int(f.Fd())
	}
	res, err := compile.Hook(in, false)
	if err != nil {
		return nil, fail("read specification", err)
	}
	defer res.Program.Close()
	j := &joins{target: pidfd, kinds: kinds &^ namespace.Single}
	return launch(res, j, nil)
}
