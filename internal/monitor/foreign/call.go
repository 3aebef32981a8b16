package foreign

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"hoy/internal/monitor"
	"hoy/internal/runtime"
)

// call is one command of a runtime.
type call struct {
	container *container
	args      []string
	limit     time.Duration
	// stdio is what the command hands on to the container; where all are nil,
	// its own words are read instead.
	stdio [3]*os.File
	// in, where not nil, starts the command on a thread of its own that it may
	// first take elsewhere.
	in func(cmd *exec.Cmd) error
}

var calls atomic.Uint64

// words bounds what is read of what a command says.
const words = 64 << 10

// run starts the command, waits for its end, and finds out what it said.
func (cl *call) run(ctx context.Context) error {
	c := cl.container
	logName := fmt.Sprintf("log-%d.json", calls.Add(1))
	defer func() { _ = os.Remove(c.path(logName)) }()
	args := append([]string{}, c.runtime.Args...)
	args = append(args, "--root", c.path(stateDir), "--log", c.path(logName), "--log-format", "json")
	cmd := exec.CommandContext(ctx, c.runtime.Path, append(args, cl.args...)...)
	cmd.Dir = c.dir
	cmd.WaitDelay = time.Second // for what holds its words open
	var said bytes.Buffer
	if cl.stdio == [3]*os.File{} {
		cmd.Stderr = &bounded{&said, words}
	} else {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = fileOrNil(cl.stdio[0]), writerOrNil(cl.stdio[1]), writerOrNil(cl.stdio[2])
	}
	start := (*exec.Cmd).Start
	if cl.in != nil {
		start = onOwnThread(cl.in)
	}
	err := start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s %s did not end within %s", c.runtime.Name, cl.args[0], cl.limit)
	}
	if text := lastError(c.path(logName)); text != "" {
		return errors.New(text)
	}
	if text := strings.TrimSpace(said.String()); text != "" {
		return fmt.Errorf("%s: %w", text, err)
	}
	return err
}

// A nil *os.File must not become a reader that is not nil.
func fileOrNil(f *os.File) io.Reader {
	if f == nil {
		return nil
	}
	return f
}

func writerOrNil(f *os.File) io.Writer {
	if f == nil {
		return nil
	}
	return f
}

// bounded drops what is too much.
type bounded struct {
	w    io.Writer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	n := min(len(p), b.left)
	b.left -= n
	if _, err := b.w.Write(p[:n]); err != nil {
		return 0, err
	}
	return len(p), nil
}

// lastError is the last error in a log file of runc's form: a line is a JSON
// object with level and msg.
func lastError(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	last := ""
	for d := json.NewDecoder(io.LimitReader(f, 1<<20)); ; {
		var line struct{ Level, Msg string }
		if d.Decode(&line) != nil {
			return last
		}
		if line.Level == "error" || line.Level == "fatal" {
			last = strings.TrimSpace(line.Msg)
		}
	}
}

// failures lists what runtimes write where a command is the person's to
// correct. There is nothing but the text to tell by, as it is for every caller
// of a runtime; it is compared in lower case.
var failures = []struct {
	text  string
	errno unix.Errno
}{
	{"executable file not found in $path", unix.ENOENT},
	{"executable file `", unix.ENOENT}, // crun: executable file `x` not found in $PATH
	{"no such file or directory", unix.ENOENT},
	{"permission denied", unix.EACCES},
	{"open executable: operation not permitted", unix.EACCES}, // crun: a directory
	{"is a directory", unix.EISDIR},
	{"not a directory", unix.ENOTDIR},
	{"exec format error", unix.ENOEXEC},
}

// failure is the error of a command of rt that was to lead to args.
func failure(rt monitor.Runtime, verb string, args []string, err error) error {
	if already, ok := errors.AsType[*runtime.StartError](err); ok {
		return already
	}
	step, text := rt.Name+" "+verb, err.Error()
	// What the step and the callers' own words say already.
	for _, said := range []string{"runc " + verb + " failed: ", "exec failed: ", "unable to start container process: "} {
		text = strings.TrimPrefix(text, said)
	}
	lower := strings.ToLower(text)
	about := len(args) > 0 && aboutCommand(text, args[0])
	for _, f := range failures {
		switch {
		case about && strings.Contains(lower, f.text):
			return &runtime.StartError{Step: step, Err: f.errno, Exec: true}
		case strings.HasSuffix(lower, ": "+f.text):
			return &runtime.StartError{Step: step, Err: &said{text, f.errno}}
		}
	}
	return &runtime.StartError{Step: step, Err: errors.New(text)}
}

// said is a runtime's words and the errno that they end with.
type said struct {
	text  string
	errno unix.Errno
}

func (s *said) Error() string { return s.text }
func (s *said) Unwrap() error { return s.errno }

// aboutCommand says whether a runtime's words are about the command and not
// about a mount or a directory whose name happens to be in them.
func aboutCommand(text, command string) bool {
	for _, form := range []string{"exec: %q", "executable file `%s`", "exec %s:"} {
		if strings.Contains(text, fmt.Sprintf(form, command)) {
			return true
		}
	}
	return strings.HasPrefix(text, "open executable: ")
}
