// Package space knows how much room there is below the data root: it says so
// before something is begun that cannot fit, keeps a reserve for the work that
// only frees room, and counts what directory trees take.
package space

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/go-units"
	"golang.org/x/sys/unix"
)

// Room is the state of a file system, in bytes.
type Room struct {
	Total int64
	// Free is what anybody may fill; Left has besides what only root may.
	Free, Left int64
}

// UsedPercent is how much of what may be used is used, as df says it.
func (r Room) UsedPercent() float64 {
	used := r.Total - r.Left
	if used+r.Free <= 0 {
		return 100
	}
	return 100 * float64(used) / float64(used+r.Free)
}

// Options of Open. Log may be nil.
type Options struct {
	Root string
	// Reserve is the size in bytes; negative is by the size of the disk, zero none.
	Reserve int64
	Log     *slog.Logger
}

// Disk is the file system of the data root with the reserve on it. A nil Disk
// knows of no limits: what is asked of it is allowed. It is safe for concurrent use.
type Disk struct {
	root    string
	log     *slog.Logger
	reserve *reserve

	mu   sync.Mutex
	hint func() int64
}

// Open finds the disk below opt.Root, which exists, and makes the reserve on it.
func Open(opt Options) (*Disk, error) {
	d := &Disk{root: opt.Root, log: opt.Log}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	room, err := d.Room()
	if err != nil {
		return nil, err
	}
	size := opt.Reserve
	if size < 0 {
		size = reserveFor(room.Total)
	}
	d.reserve, err = openReserve(filepath.Join(opt.Root, reserveName), size, d)
	if err != nil {
		return nil, err
	}
	return d, nil
}

// Close ends the watch over the reserve; the file stays.
func (d *Disk) Close() error { return d.reserve.close() }

// SetHint sets who tells how many bytes a prune would free.
func (d *Disk) SetHint(prunable func() int64) {
	d.mu.Lock()
	d.hint = prunable
	d.mu.Unlock()
}

// Room asks the file system.
func (d *Disk) Room() (Room, error) {
	var st unix.Statfs_t
	for {
		err := unix.Statfs(d.root, &st)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EINTR) {
			return Room{}, fmt.Errorf("space on %s: %w", d.root, err)
		}
	}
	unit := st.Frsize
	if unit == 0 {
		unit = st.Bsize
	}
	return Room{Total: int64(st.Blocks) * unit, Free: int64(st.Bavail) * unit, Left: int64(st.Bfree) * unit}, nil
}

// State is what the disk has and the reserve on it, in bytes.
func (d *Disk) State() (room Room, reserve int64, err error) {
	room, err = d.Room()
	return room, d.reserve.size(), err
}

// Need refuses what needs more bytes than are free, with the numbers, as
// errdefs.ErrResourceExhausted. What is what is about to be done: "pull of x".
func (d *Disk) Need(what string, bytes int64) error {
	if d == nil || bytes <= 0 {
		return nil
	}
	room, err := d.Room()
	if err != nil || bytes <= room.Free {
		return nil //nolint:nilerr // who cannot ask tries, and is told by the write
	}
	return errdefs.ErrResourceExhausted.WithMessage(fmt.Sprintf(
		"no space left on device: %s needs at least %s, %s", what, human(bytes), d.state(room)))
}

// Explain adds the numbers to an error that says that the disk is full.
func (d *Disk) Explain(what string, err error) error {
	if d == nil || !IsFull(err) || errdefs.IsResourceExhausted(err) {
		return err
	}
	room, rerr := d.Room()
	if rerr != nil {
		return err
	}
	return &fullError{text: fmt.Sprintf("%s ran out of space: %v; what it had written is removed, %s", what, err, d.state(room)), err: err}
}

// state is the disk in words, with what would help.
func (d *Disk) state(room Room) string {
	text := fmt.Sprintf("%s are free on %s", human(room.Free), d.root)
	if kept := d.reserve.size(); kept > 0 {
		text += fmt.Sprintf(" (plus %s of reserve)", human(kept))
	}
	d.mu.Lock()
	hint := d.hint
	d.mu.Unlock()
	if hint == nil {
		return text
	}
	if n := hint(); n > 0 {
		return text + fmt.Sprintf("; hoy system prune would free %s", human(n))
	}
	return text + "; hoy system df shows what takes space"
}

func human(n int64) string { return units.HumanSize(float64(n)) }

// fullError is a full disk with the numbers.
type fullError struct {
	text string
	err  error
}

func (e *fullError) Error() string   { return e.text }
func (e *fullError) Unwrap() []error { return []error{e.err, errdefs.ErrResourceExhausted} }

// IsFull says whether err is that a disk or a quota is full.
func IsFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// Ease makes room for work that only frees room, and for records, where the
// disk is full: a part of the reserve. It says whether there is any now.
func (d *Disk) Ease() bool {
	if d == nil {
		return false
	}
	room, err := d.Room()
	if err != nil || !room.full() {
		return err == nil
	}
	return d.reserve.release(room)
}

// GiveWay is Ease for who was told just now that the disk is full.
func (d *Disk) GiveWay() bool {
	if d == nil {
		return false
	}
	room, err := d.Room()
	return err == nil && d.reserve.release(room)
}

// lowWater is what a few records and directories need, in bytes.
const lowWater = 2 << 20

// maxKept bounds what a file system keeps for itself and counts as free all the
// same: of ext4 a fiftieth, at most 4096 blocks.
const maxKept = 4096 * 4096

func (r Room) full() bool { return r.Left < min(r.Total/50, maxKept)+lowWater }

// checkEvery is how often a reserve that was given away is looked after.
const checkEvery = 2 * time.Second
