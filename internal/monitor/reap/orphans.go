// Package reap waits for the monitor's children: for each that somebody has
// started, and for those that are left behind.
package reap

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Orphans reaps the children that nobody here waits for. There are none until a
// runtime other than the built-in one is used: its "create" and "exec" leave
// their processes behind, and for those to become ours the monitor is made the
// subreaper of all its descendants. From then on the orphans of containers that
// share the host's process ids come to it, too.
//
// A child is somebody's as soon as the table knows it; before that, its number
// is known to the start alone that has made it. So a dead child is an orphan
// for certain when every start that was under way when it was first seen has
// ended and the table does not know it.
type Orphans struct {
	// owned says whether the table knows a running process of that number.
	owned func(pid int) bool
	log   *slog.Logger

	once  sync.Once
	begun error

	mu      sync.Mutex
	next    uint64
	flights map[uint64]struct{}
}

// NewOrphans is asked for nothing yet: see Adopt. owned says whether the table
// knows a running process of that number.
func NewOrphans(owned func(pid int) bool, log *slog.Logger) *Orphans {
	return &Orphans{owned: owned, log: log, flights: map[uint64]struct{}{}}
}

// Flight marks a time in which a child may be in no table; done ends it.
func (o *Orphans) Flight() (done func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := o.next
	o.next++
	o.flights[n] = struct{}{}
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.flights, n)
	}
}

// now is the number of the next flight; over says whether all before n have ended.
func (o *Orphans) now() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.next
}

func (o *Orphans) over(n uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for f := range o.flights {
		if f < n {
			return false
		}
	}
	return true
}

// Adopt makes orphans ours and begins to reap them, once.
func (o *Orphans) Adopt() error {
	o.once.Do(func() {
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			o.begun = fmt.Errorf("become subreaper: %w", err)
			return
		}
		died := make(chan os.Signal, 1)
		signal.Notify(died, unix.SIGCHLD)
		go o.watch(died)
	})
	return o.begun
}

// IsSubreaper says whether a program before this one, in the same process, has
// adopted orphans.
func IsSubreaper() bool {
	var is int32
	err := unix.Prctl(unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&is)), 0, 0, 0)
	return err == nil && is != 0
}

// The pauses between two looks: after a death, and while one is in doubt.
const (
	calm  = 20 * time.Millisecond
	doubt = 200 * time.Millisecond
)

// watch reaps after deaths. Most of them are the table's own, so it does not hurry.
func (o *Orphans) watch(died <-chan os.Signal) {
	timer := time.NewTimer(calm)
	for first := (sighting{}); ; {
		select {
		case <-died:
			timer.Reset(calm)
			continue
		case <-timer.C:
		}
		var clear bool
		if first, clear = o.sweep(first); !clear {
			timer.Reset(doubt)
		}
	}
}

// sighting is a dead child that may be somebody's; the descriptor keeps its
// number from meaning another.
type sighting struct {
	pid   int
	fd    *os.File
	since uint64
}

func (s sighting) forget() {
	if s.fd != nil {
		_ = s.fd.Close()
	}
}

// sweep reaps orphans until it meets a dead child of which it cannot be certain
// yet; clear says that there is none.
func (o *Orphans) sweep(s sighting) (_ sighting, clear bool) {
	for {
		pid, err := deadChild()
		if err != nil || pid == 0 {
			s.forget()
			return sighting{}, true
		}
		if s.pid != pid {
			s.forget()
			if s, err = o.see(pid); err != nil {
				return sighting{}, false // reaped by its owner just now
			}
		}
		if !o.over(s.since) {
			return s, false
		}
		if o.owned(pid) {
			s.forget()
			return sighting{}, false
		}
		err = unix.Waitid(unix.P_PIDFD, int(s.fd.Fd()), nil, unix.WEXITED|unix.WNOHANG, nil)
		s.forget()
		s = sighting{}
		if err != nil && !errors.Is(err, unix.ECHILD) {
			o.log.Warn("an orphan is not reaped", "pid", pid, "error", err)
			return s, false
		}
	}
}

func (o *Orphans) see(pid int) (sighting, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return sighting{}, err
	}
	// In this order: whoever has this number now was made by a flight before.
	return sighting{pid, os.NewFile(uintptr(fd), "pidfd"), o.now()}, nil
}

// deadChild is the number of a child that has ended and not been reaped; 0 is none.
func deadChild() (int, error) {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, err // ECHILD: no child at all
		case info.Signo == 0:
			return 0, nil
		}
		return int((*siginfoChild)(unsafe.Pointer(&info)).pid), nil
	}
}
