package core

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"hoy/internal/runtime"
)

func TestExecFailure(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		code int
		text string
		told bool
	}{
		{"no such command", &runtime.StartError{Step: "exec", Err: syscall.ENOENT, Exec: true}, 127, `exec: "x": executable file not found in $PATH`, true},
		{"not executable", &runtime.StartError{Step: "exec", Err: syscall.EACCES, Exec: true}, 126, `exec: "x": permission denied`, true},
		{"no such directory", &runtime.StartError{Step: `chdir to cwd ("/d")`, Err: syscall.ENOENT}, 127, `chdir to cwd ("/d"): no such file or directory`, true},
		{"no such user", &runtime.StartError{Step: "prepare process", Err: errors.New("unable to find user u")}, 126, "unable to find user u", true},
		{"not the command's fault", errors.New("monitor lost"), 126, "monitor lost", false},
	} {
		code, err, told := ExecFailure("x", c.err)
		if code != c.code || told != c.told || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %d, %v, %v; want %d with %q", c.name, code, told, err, c.code, c.text)
		}
	}
}
