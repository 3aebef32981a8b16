package roster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"hoy/internal/log"
	"hoy/internal/monitor"
	"hoy/internal/monitor/foreign"
)

// Running is what a monitor must know of a process that another one has started.
type Running struct {
	ID      monitor.ProcessID `json:"id"`
	Started monitor.Started   `json:"started"`
	// Boot is which boot of the machine it was started in.
	Boot    string             `json:"boot"`
	Stdio   monitor.Stdio      `json:"stdio"`
	Note    json.RawMessage    `json:"note,omitempty"`
	Log     *log.Config        `json:"log,omitempty"`
	Foreign *foreign.Container `json:"foreign,omitempty"`
}

// Roster is a directory with what runs: a file for each process, and the named
// pipes that it writes to. A monitor that was killed leaves it to the next.
//
// A pipe without a file is that of a start that has not come to its end.
type Roster struct {
	dir  string
	boot string
	log  *slog.Logger
	// apart is the directory by a mount that is nowhere: a file opened by it has
	// a path that begins there, and tells a container nothing of the host's.
	apart int
}

// maxRunning bounds a file; notes and attributes of logs are the bulk of it.
const maxRunning = 4 << 20

// OpenRoster makes the directory where it is not there.
func OpenRoster(dir string, log *slog.Logger) (*Roster, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, err
	}
	apart, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		log.Warn("containers can see where their pipes are", "error", err)
		if apart, err = unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
			return nil, &os.PathError{Op: "open", Path: dir, Err: err}
		}
	}
	return &Roster{dir: dir, boot: strings.TrimSpace(string(boot)), log: log, apart: apart}, nil
}

func (r *Roster) path(id monitor.ProcessID, kind string) string {
	return filepath.Join(r.dir, Name(id)+"."+kind)
}

const record = "json"

// Pipe makes the pipe of one output: our end, which is read without waiting,
// and the process's. That one is open for reading as well, so that the process
// never meets a pipe without a reader, whoever of us is killed; the end of the
// output is seen all the same, since ours is for reading alone.
func (r *Roster) Pipe(id monitor.ProcessID, output int) (ours, theirs *os.File, err error) {
	path := r.path(id, strconv.Itoa(output))
	err = unix.Mkfifo(path, 0o600)
	if errors.Is(err, unix.EEXIST) { // of a former run
		if err = os.Remove(path); err == nil {
			err = unix.Mkfifo(path, 0o600)
		}
	}
	if err != nil {
		return nil, nil, &os.PathError{Op: "mkfifo", Path: path, Err: err}
	}
	fd, err := reopen(path)
	if err != nil {
		return nil, nil, err
	}
	ours = os.NewFile(uintptr(fd), "pipe")
	fd, err = unix.Openat(r.apart, filepath.Base(path), unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		_ = ours.Close()
		return nil, nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return ours, os.NewFile(uintptr(fd), "pipe"), nil
}

func reopen(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

// Reopen opens our end of a running process's pipe again; -1 where that is not possible.
func (r *Roster) Reopen(id monitor.ProcessID, output int) int {
	path := r.path(id, strconv.Itoa(output))
	fd, err := reopen(path)
	if err != nil {
		return -1
	}
	// A reader that never met a writer is not told that there is none.
	if writer, err := unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0); err == nil {
		_ = unix.Close(writer)
	}
	return fd
}

// Add records a process that runs. One that is not recorded would be lost with
// the monitor.
func (r *Roster) Add(p Running) error {
	p.Boot = r.boot
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	// In one write; a torn file is that of a start that was not answered.
	return os.WriteFile(r.path(p.ID, record), data, 0o600) //nolint:forbidigo // in a file system that does not outlive the machine
}

// Remove forgets a process, and its pipes.
func (r *Roster) Remove(id monitor.ProcessID, terminal bool) {
	_ = os.Remove(r.path(id, record))
	if !terminal {
		_ = os.Remove(r.path(id, "1"))
		_ = os.Remove(r.path(id, "2"))
	}
}

// Load reads what the monitor before has left. Starts that had not come to
// their end are ended: nobody was told of them.
func (r *Roster) Load() []Running {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		r.log.Error("what runs cannot be read", "error", err)
		return nil
	}
	var list []Running
	known := map[string]bool{}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), "."+record)
		if !ok {
			continue
		}
		p, err := r.read(filepath.Join(r.dir, e.Name()), name)
		if err != nil {
			r.log.Warn("a start was interrupted", "process", name, "error", err)
			_ = os.Remove(filepath.Join(r.dir, e.Name()))
			continue
		}
		known[name] = true
		list = append(list, p)
	}
	var begun []string
	for _, e := range entries {
		if name := strings.TrimSuffix(strings.TrimSuffix(e.Name(), ".1"), ".2"); name != e.Name() && !known[name] {
			begun = append(begun, filepath.Join(r.dir, e.Name()))
		}
	}
	r.endStarts(begun)
	return list
}

func (r *Roster) read(path, name string) (p Running, err error) {
	f, err := os.Open(path)
	if err != nil {
		return p, err
	}
	defer f.Close()
	if err := json.NewDecoder(io.LimitReader(f, maxRunning)).Decode(&p); err != nil {
		return p, err
	}
	switch {
	case CheckID(p.ID) != nil || Name(p.ID) != name || p.Started.Pid <= 1:
		return p, fmt.Errorf("it is not the record of %s", name)
	case p.Boot != r.boot:
		return p, errors.New("it is of another boot")
	}
	return p, nil
}
