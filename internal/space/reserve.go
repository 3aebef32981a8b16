package space

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// reserveName is the reserve's file below the data root.
const reserveName = "reserve"

// Bounds of the reserve that is made without being told its size, in bytes.
const (
	minReserve = 16 << 20
	maxReserve = 64 << 20
)

// reserveFor is a two-hundredth of the disk within the bounds, and never more
// than a sixteenth of it.
func reserveFor(total int64) int64 {
	return min(max(total/200, minReserve), maxReserve, total/16)
}

// parts is in how many steps a reserve is given away: what runs on a full disk
// may eat a part at once, and then there is another.
const parts = 8

// reserve is a file whose blocks are taken and never written.
type reserve struct {
	disk *Disk
	want int64
	// stop ends the watch; nil before the first release.
	stop, ended chan struct{}

	mu   sync.Mutex
	file *os.File
	have int64
}

// openReserve makes the file as large as it should be. A disk that is too full
// for it now gets it later; a file system that cannot is told of, and has none.
func openReserve(path string, want int64, disk *Disk) (*reserve, error) {
	r := &reserve{disk: disk, want: want}
	if want == 0 {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("reserve: %w", err)
		}
		return r, nil
	}
	var err error
	if r.file, err = os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600); err != nil {
		if IsFull(err) {
			disk.log.Warn("no reserve: the disk is full", "root", disk.root)
			r.want = 0
			return r, nil
		}
		return nil, fmt.Errorf("reserve: %w", err)
	}
	info, err := r.file.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reserve: %w", err), r.file.Close())
	}
	if r.have = info.Size(); r.have > want {
		if err := r.resize(want); err != nil {
			return nil, errors.Join(err, r.file.Close())
		}
	}
	if err := r.refill(); err != nil {
		disk.log.Warn("no reserve for a full disk: the file system cannot set space aside", "root", disk.root, "error", err)
		r.want = 0
	} else if r.have < want {
		disk.log.Warn("the reserve for a full disk is not whole: there is too little space", "root", disk.root, "have", r.have, "want", want)
		r.watch()
	}
	return r, nil
}

func (r *reserve) size() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.have
}

func (r *reserve) resize(size int64) error {
	if err := r.file.Truncate(size); err != nil {
		return fmt.Errorf("reserve: %w", err)
	}
	r.have = size
	return nil
}

// release gives a part away and says whether there was one.
func (r *reserve) release(room Room) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.have == 0 {
		return false
	}
	left := max(0, r.have-max(r.want/parts, lowWater))
	if err := r.resize(left); err != nil {
		r.disk.log.Error("the reserve cannot be given away", "error", err)
		return false
	}
	r.disk.log.Warn("the disk is full: a part of the reserve is given away for work that frees space",
		"root", r.disk.root, "free", room.Left, "reserve", left)
	r.watch()
	return true
}

// refill makes the reserve whole where that leaves as much again free.
func (r *reserve) refill() error {
	missing := r.want - r.have
	if missing <= 0 {
		return nil
	}
	room, err := r.disk.Room()
	if err != nil || room.Free < 2*missing {
		return err
	}
	if err := unix.Fallocate(int(r.file.Fd()), 0, 0, r.want); err != nil {
		_ = r.resize(r.have)
		if IsFull(err) {
			return nil
		}
		return err
	}
	r.have = r.want
	return nil
}

// watch makes the reserve whole again when there is room; it is called with mu
// held, or before anybody else knows of r.
func (r *reserve) watch() {
	if r.stop != nil {
		select {
		case <-r.ended:
		default:
			return
		}
	}
	stop, ended := make(chan struct{}), make(chan struct{})
	r.stop, r.ended = stop, ended
	go func() {
		defer close(ended)
		tick := time.NewTicker(checkEvery)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			if r.again() {
				return
			}
		}
	}()
}

// again says whether the reserve needs no more watching.
func (r *reserve) again() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.have
	if err := r.refill(); err != nil {
		r.disk.log.Warn("the reserve cannot be made again", "error", err)
		return true
	}
	if r.have == r.want && before < r.want {
		r.disk.log.Info("there is space again: the reserve is whole", "root", r.disk.root, "reserve", r.have)
	}
	return r.have == r.want
}

func (r *reserve) close() error {
	r.mu.Lock()
	stop, ended := r.stop, r.ended
	r.mu.Unlock()
	if stop != nil {
		close(stop)
		<-ended
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stop = nil
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}
