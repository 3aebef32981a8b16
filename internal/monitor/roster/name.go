package roster

import (
	"fmt"
	"strings"

	"github.com/containerd/errdefs"

	"hoy/internal/monitor"
)

// maxID bounds the two halves of a process id; ids are 64 hexadecimal digits.
const maxID = 128

// CheckID refuses ids that cannot be part of a file's name.
func CheckID(id monitor.ProcessID) error {
	if !idOK(id.Container) || (id.Exec != "" && !idOK(id.Exec)) {
		return fmt.Errorf("process id %q: up to %d letters, digits, - and _ each: %w", Name(id), maxID, errdefs.ErrInvalidArgument)
	}
	return nil
}

// idOK leaves the dot to stand between the halves.
func idOK(s string) bool {
	if s == "" || len(s) > maxID {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

// Name is how a process is called in errors and in the names of records.
func Name(id monitor.ProcessID) string {
	if id.Exec == "" {
		return id.Container
	}
	return id.Container + "." + id.Exec
}
