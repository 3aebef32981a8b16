package daemon

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"hoy/internal/durable"
	"hoy/internal/reconcile"
	"hoy/internal/store"
)

// lockRoot makes this the only engine on the data root until the returned file
// is closed, which the kernel does if nobody else.
func lockRoot(root string) (*os.File, error) {
	if err := os.MkdirAll(root, 0o711); err != nil {
		return nil, fmt.Errorf("data root: %w", err)
	}
	path := filepath.Join(root, "engine.lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data root: %w", err)
	}
	// A flock ends with its open file, however the process ends.
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		holder, _ := os.ReadFile(path)
		_ = f.Close()
		return nil, fmt.Errorf("another hoyd (pid %s) uses the data root %s: stop it, or give this one a root of its own with --data-root", strings.TrimSpace(string(holder)), root)
	}
	if err == nil {
		err = errors.Join(f.Truncate(0), writeAt(f, strconv.Itoa(os.Getpid())+"\n"))
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

func writeAt(f *os.File, text string) error {
	_, err := f.WriteAt([]byte(text), 0)
	return err
}

// writePidfile records our pid; one of a living hoyd is refused.
func writePidfile(path string) error {
	if old, err := os.ReadFile(path); err == nil {
		pid, err := strconv.Atoi(strings.TrimSpace(string(old)))
		if err == nil && pid > 0 && pid != os.Getpid() && isDaemon(pid) {
			return fmt.Errorf("pid file %s: hoyd with pid %d is still running: stop it, or choose another file with --pidfile", path, pid)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("pid file: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("pid file: %w", err)
	}
	return durable.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644)
}

// isDaemon says whether the process is a living daemon as this one: the number
// of one that ended may long be another program's, and one that nobody has
// reaped yet has no executable any more.
func isDaemon(pid int) bool {
	if _, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err != nil {
		return false
	}
	theirs, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return false
	}
	ours, err := os.ReadFile("/proc/self/comm")
	return err == nil && string(theirs) == string(ours)
}

// removePidfile removes the file where it is still ours.
func removePidfile(path string) {
	if text, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(text)) == strconv.Itoa(os.Getpid()) {
		_ = os.Remove(path)
	}
}

// engineID is this engine's name among all, kept with its data.
// The store has a copy, for the day on which the file is damaged.
func engineID(root string, db *store.DB, damages *reconcile.Damages) (string, error) {
	path := filepath.Join(root, "engine-id")
	copies, err := store.NewBucket[string](db, "engine")
	if err != nil {
		return "", err
	}
	id, err := readEngineID(path)
	stored, copyErr := copies.Get("id")
	switch {
	case err == nil && copyErr == nil && stored == id:
		return id, nil
	case err == nil && copyErr != nil:
		return id, copies.Put("id", id)
	case copyErr == nil:
		if err == nil {
			err = errors.New("it has another name than the store")
		}
		damages.Add("name of the engine", path, err, "the store's copy was taken")
		return stored, durable.WriteFile(path, []byte(stored+"\n"), 0o600)
	case !errors.Is(err, fs.ErrNotExist):
		damages.Add("name of the engine", path, err, "there is no other copy; the engine has a new name")
	}
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	// RFC 9562, version 4.
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	id = fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
	return id, errors.Join(durable.WriteFile(path, []byte(id+"\n"), 0o600), copies.Put("id", id))
}

var engineName = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

func readEngineID(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	id := strings.TrimSpace(string(text))
	if !engineName.MatchString(id) {
		return "", errors.New("it is not the name of an engine")
	}
	return id, nil
}

// descriptors is how many files the table has room for from the start.
const descriptors = 4096

// growTable makes the process's table of files large while it has few threads:
// growing it later stops the growing thread for an RCU grace period, each time
// in the middle of somebody's start.
func growTable() {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil || limit.Cur < 64 {
		return
	}
	high := int(min(limit.Cur, descriptors)) - 1
	// F_DUPFD takes the first free number from high on, so none that is in use.
	if fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, high); err == nil {
		_ = unix.Close(fd)
	}
}
