package guard

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxBehind bounds what waits for a guardian that does not read.
const maxBehind = 4096

// Keeper is the monitor's end. A nil *Keeper, without a guardian, does nothing.
type Keeper struct {
	file *os.File
	raw  rawConn
	log  *slog.Logger
	gone chan struct{} // closed when the guardian has ended

	mu sync.Mutex
	// behind waits, in order, for a guardian whose socket is full.
	behind []*message
	ended  map[Process]unix.WaitStatus
	news   chan struct{} // closed when ended has changed
}

type rawConn interface {
	Control(f func(fd uintptr)) error
	Read(f func(fd uintptr) (done bool)) error
	Write(f func(fd uintptr) (done bool)) error
}

// Kept is what a dead monitor has left with the guardian, by process and part.
type Kept map[string]map[string]int

// Take returns a descriptor, which is the caller's then; -1 where there is none.
func (k Kept) Take(name, part string) int {
	fd, ok := k[name][part]
	if !ok {
		return -1
	}
	delete(k[name], part)
	return fd
}

// Close closes what nobody has taken, and returns the names.
func (k Kept) Close() (names []string) {
	for name, parts := range k {
		for _, fd := range parts {
			_ = unix.Close(fd)
		}
		if len(parts) > 0 {
			names = append(names, name)
		}
	}
	return names
}

// Open takes over the socket fd. A fresh monitor reads from it what was kept;
// a program that another has become has it all.
func Open(fd int, fresh bool, log *slog.Logger) (*Keeper, Kept, error) {
	unix.CloseOnExec(fd)
	kept := Kept{}
	if fresh {
		if err := unix.SetNonblock(fd, false); err != nil {
			return nil, nil, os.NewSyscallError("fcntl", err)
		}
		if err := kept.read(fd); err != nil {
			return nil, nil, fmt.Errorf("guardian: %w", err)
		}
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, nil, os.NewSyscallError("fcntl", err)
	}
	k := &Keeper{file: os.NewFile(uintptr(fd), "guardian"), log: log, gone: make(chan struct{}),
		ended: map[Process]unix.WaitStatus{}, news: make(chan struct{})}
	var err error
	if k.raw, err = k.file.SyscallConn(); err != nil {
		return nil, nil, err
	}
	go k.listen()
	return k, kept, nil
}

func (k Kept) read(fd int) error {
	buf := make([]byte, maxMessage)
	for {
		m, err := receive(fd, 0, buf)
		if err != nil {
			return err
		}
		switch m.verb() {
		case "ready":
			return nil
		case "have":
			for i, key := range m.words[1:] {
				if i >= len(m.fds) {
					break
				}
				name, part := split(key)
				if k[name] == nil {
					k[name] = map[string]int{}
				}
				k[name][part] = m.fds[i]
			}
			m.fds = m.fds[min(len(m.fds), len(m.words)-1):]
		}
		m.close()
	}
}

// listen reads how processes ended until the guardian has.
func (k *Keeper) listen() {
	defer close(k.gone)
	buf := make([]byte, maxMessage)
	for {
		var m *message
		var opErr error
		err := k.raw.Read(func(fd uintptr) bool {
			m, opErr = receive(int(fd), unix.MSG_DONTWAIT, buf)
			return !errors.Is(opErr, unix.EAGAIN)
		})
		if err != nil || opErr != nil {
			return
		}
		m.close()
		if m.verb() != "end" || len(m.words) < 3 {
			continue
		}
		p, err := parseProcess(m.words[1])
		status, err2 := strconv.Atoi(m.words[2])
		if err != nil || err2 != nil {
			continue
		}
		k.mu.Lock()
		k.ended[p] = unix.WaitStatus(status)
		close(k.news)
		k.news = make(chan struct{})
		k.mu.Unlock()
	}
}

// Gone is closed when the guardian has ended.
func (k *Keeper) Gone() <-chan struct{} { return k.gone }

// Keep has the guardian keep duplicates of files, under the parts of a process's name.
func (k *Keeper) Keep(name string, parts map[string]*os.File) error {
	if k == nil || len(parts) == 0 {
		return nil
	}
	m := &message{words: []string{"keep"}}
	for part, f := range parts {
		raw, err := f.SyscallConn()
		if err == nil {
			err = raw.Control(func(fd uintptr) {
				if dup, dupErr := unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0); dupErr == nil {
					m.words, m.fds = append(m.words, Key(name, part)), append(m.fds, dup)
				}
			})
		}
		if err != nil && !errors.Is(err, os.ErrClosed) { // a stream may have ended meanwhile
			m.close()
			return err
		}
	}
	return k.post(m)
}

// KeepProgram has the next monitor started from program, which is in sealed memory.
func (k *Keeper) KeepProgram(program *os.File) error {
	if k == nil {
		return nil
	}
	fd, err := unix.FcntlInt(program.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	return k.post(&message{words: []string{"keep", programKey}, fds: []int{fd}})
}

// Drop ends what is kept: a part of a process, or where that is empty, all of it.
func (k *Keeper) Drop(name, part string) {
	if k == nil {
		return
	}
	if part != "" {
		name = Key(name, part)
	}
	_ = k.post(&message{words: []string{"drop", name}})
}

// Await has the ends of processes reported that are not our children, and lets
// the guardian reap.
func (k *Keeper) Await(all []Process) {
	if k == nil {
		return
	}
	for len(all) > 0 {
		part := all[:min(len(all), maxWords)]
		all = all[len(part):]
		m := &message{words: []string{"await"}}
		for _, p := range part {
			m.words = append(m.words, p.String())
		}
		_ = k.post(m)
	}
	_ = k.post(&message{words: []string{"reap"}})
}

// Status waits at most limit for the guardian to say how p, which has ended, has ended.
func (k *Keeper) Status(p Process, limit time.Duration) (unix.WaitStatus, bool) {
	if k == nil {
		return 0, false
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		k.mu.Lock()
		status, ok := k.ended[p]
		news := k.news
		k.mu.Unlock()
		if ok {
			return status, true
		}
		select {
		case <-news:
		case <-timer.C:
			return 0, false
		case <-k.gone:
			k.mu.Lock()
			status, ok := k.ended[p]
			k.mu.Unlock()
			return status, ok
		}
	}
}

// Done forgets a process whose end is recorded.
func (k *Keeper) Done(p Process) {
	if k == nil {
		return
	}
	k.mu.Lock()
	delete(k.ended, p)
	k.mu.Unlock()
	_ = k.post(&message{words: []string{"done", p.String()}})
}

// Bye ends the guardian, and waits at most limit for that.
func (k *Keeper) Bye(limit time.Duration) {
	if k == nil || k.post(&message{words: []string{"bye"}}) != nil {
		return
	}
	select {
	case <-k.gone:
	case <-time.After(limit):
	}
}

// File is the socket, for a program that this one becomes.
func (k *Keeper) File() *os.File {
	if k == nil {
		return nil
	}
	return k.file
}

var errBehind = errors.New("the guardian does not read")

// post sends m, or has it sent when there is room. It never waits.
func (k *Keeper) post(m *message) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.behind) > 0 {
		if len(k.behind) >= maxBehind {
			m.close()
			return errBehind
		}
		k.behind = append(k.behind, m)
		return nil
	}
	var opErr error
	err := k.raw.Control(func(fd uintptr) { opErr = send(int(fd), unix.MSG_DONTWAIT, m.fds, m.words...) })
	if errors.Is(opErr, unix.EAGAIN) {
		k.behind = append(k.behind, m)
		go k.catchUp()
		return nil
	}
	m.close()
	return errors.Join(err, opErr)
}

// catchUp sends what waits.
func (k *Keeper) catchUp() {
	for {
		k.mu.Lock()
		m := k.behind[0]
		k.mu.Unlock()
		var opErr error
		err := k.raw.Write(func(fd uintptr) bool {
			opErr = send(int(fd), unix.MSG_DONTWAIT, m.fds, m.words...)
			return !errors.Is(opErr, unix.EAGAIN)
		})
		m.close()
		k.mu.Lock()
		k.behind = k.behind[1:]
		end := len(k.behind) == 0 || err != nil || opErr != nil
		if end {
			for _, m := range k.behind {
				m.close()
			}
			k.behind = nil
		}
		k.mu.Unlock()
		if end {
			return
		}
	}
}
