package writer

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"hoy/internal/log/squeeze"
)

// fileMode is Docker's.
const fileMode = 0o640

// lookAgain is how often a writer that waits looks whether it was forwarded.
const lookAgain = 50 * time.Millisecond

// open opens the current file for appending; w.mu is held.
func (w *Writer) open() error {
	f, err := os.OpenFile(w.cfg.Path, os.O_RDWR|os.O_APPEND|os.O_CREATE, fileMode)
	if err != nil {
		return err
	}
	fi, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return err
	}
	w.file, w.size = f, fi.Size()
	if w.next == 0 && !w.cfg.JSON() {
		// What was forwarded has its numbers, even where its file is gone.
		w.next = Sent(w.cfg.SentPath())
	}
	if w.size == 0 {
		if !w.cfg.JSON() {
			w.next = max(w.next, w.files.after(1))
		}
		return nil
	}
	end, next, before, err := w.format.resume(f, w.size)
	if err != nil {
		_ = f.Close()
		w.file = nil
		return err
	}
	w.next = max(w.next, next)
	if end < w.size {
		if err := f.Truncate(end); err == nil {
			w.size = end
		}
	}
	if len(before) > 0 {
		_ = w.write(before)
	}
	return nil
}

// removeSurplus removes rotated files beyond their number, up to the first
// that is not there.
func (w *Writer) removeSurplus() {
	n := max(w.cfg.MaxFiles, 1)
	if w.cfg.Sent != "" && !w.forwarded(n) {
		return
	}
	for w.files.remove(n) {
		n++
	}
}

// forwarded says whether the files from n on, which are about to go, were sent elsewhere.
func (w *Writer) forwarded(n int) bool {
	if !w.files.exists(n) {
		return true
	}
	stays, ok := w.files.firstOf(n - 1)
	return !ok || Sent(w.cfg.Sent) >= stays
}

// await returns when the oldest file may go; false says that nobody may wait
// any more and that it must stay. w.mu is let go of meanwhile.
func (w *Writer) await() bool {
	if w.cfg.Sent == "" {
		return true
	}
	for {
		if w.cfg.MaxFiles >= 2 && w.forwarded(w.cfg.MaxFiles-1) || w.cfg.MaxFiles < 2 && Sent(w.cfg.Sent) >= w.next {
			return true
		}
		w.mu.Unlock()
		stop := false
		select {
		case <-w.released:
			stop = true
		case <-time.After(lookAgain):
		}
		w.mu.Lock()
		if stop || w.closed {
			return false
		}
	}
}

// rotate sets the current file aside and begins a new one. A file that cannot
// be set aside is emptied: the size that was promised is kept.
func (w *Writer) rotate() {
	if w.file == nil {
		return
	}
	keep := !w.await()
	if w.file == nil || w.closed {
		return
	}
	if w.cfg.MaxFiles >= 2 || keep {
		w.shift(keep)
		if os.Rename(w.cfg.Path, w.files.rotated(1)) == nil {
			_ = w.file.Close()
			w.file, w.size = nil, 0
			_ = w.open() // tried again by ready
			w.compress()
			return
		}
	}
	if w.file.Truncate(0) == nil {
		w.size = 0
	}
}

// shift gives each rotated file the next number. The last goes, unless keep.
func (w *Writer) shift(keep bool) {
	last := w.cfg.MaxFiles - 1
	if keep {
		for last = max(last, 1); w.files.exists(last); last++ {
		}
	} else if w.files.remove(last) {
		for n := last + 1; w.files.remove(n); n++ {
		}
	}
	for n := last; n > 1; n-- {
		// A gap in the numbers is no error.
		_ = os.Rename(w.files.rotated(n-1), w.files.rotated(n))
		_ = os.Rename(w.files.rotated(n-1)+squeeze.Ext, w.files.rotated(n)+squeeze.Ext)
	}
	if w.job != nil && w.job.n > 0 { // one that is gone stays so
		if w.job.n++; w.job.n > last {
			w.job.n = 0
		}
	}
}

// job is a compression that runs; n is the file's number of the moment, 0 when it is gone.
type job struct{ n int }

// slot lets one file be compressed at a time: the containers need the processors.
var slot = make(chan struct{}, 1)

// writers are those by path: a container that is started again has a new one
// while the old one's files may still be compressed.
var writers sync.Map

// supersede ends what an earlier Writer of the same files still does.
func (w *Writer) supersede() {
	if !w.cfg.Compress {
		return
	}
	if old, ok := writers.Swap(w.cfg.Path, w); ok {
		old := old.(*Writer)
		old.mu.Lock()
		old.replaced = true
		old.mu.Unlock()
	}
	stale, _ := filepath.Glob(w.cfg.Path + tmpMark + "*")
	for _, name := range stale {
		_ = os.Remove(name)
	}
}

// background is the lowest priority there is.
const background = 19

const tmpMark = ".tmp-"

// compress compresses what is rotated and not yet compressed, in the background; w.mu is held.
func (w *Writer) compress() {
	if !w.cfg.Compress || w.cfg.MaxFiles < 2 || w.job != nil || w.files.todo(w.cfg.MaxFiles) == 0 {
		return
	}
	w.job = &job{}
	go func() {
		slot <- struct{}{}
		defer func() { <-slot }()
		// The thread ends with the goroutine, so that nothing else is held back.
		runtime.LockOSThread()
		_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), background)
		for w.compressOne() {
		}
	}()
}

// compressOne returns false when there is nothing more to do.
func (w *Writer) compressOne() bool {
	w.mu.Lock()
	n := w.files.todo(w.cfg.MaxFiles)
	var src *os.File
	err := errors.New("nothing")
	if n > 0 && !w.replaced {
		src, err = os.Open(w.files.rotated(n))
	}
	if err != nil {
		w.job = nil
		if w.closed {
			writers.CompareAndDelete(w.cfg.Path, w)
		}
		w.mu.Unlock()
		return false
	}
	w.job.n = n
	w.mu.Unlock()
	defer src.Close()
	tmp, err := w.compressTo(src)
	w.mu.Lock()
	defer w.mu.Unlock()
	n = w.job.n
	if err != nil || n == 0 || w.replaced || os.Rename(tmp, w.files.rotated(n)+squeeze.Ext) != nil {
		if tmp != "" {
			_ = os.Remove(tmp)
		}
		if n == 0 && !w.replaced { // rotated away meanwhile: on to the next
			return true
		}
		// No room, most of all: the next rotation tries again.
		w.job = nil
		return false
	}
	_ = os.Remove(w.files.rotated(n))
	return true
}

// compressTo makes the compressed file beside the others, whole and on the disk.
func (w *Writer) compressTo(src *os.File) (name string, err error) {
	tmp, err := os.CreateTemp(filepath.Dir(w.cfg.Path), filepath.Base(w.cfg.Path)+tmpMark)
	if err != nil {
		return "", err
	}
	defer tmp.Close()
	stop := func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.replaced || w.job.n == 0
	}
	if err := squeeze.Compress(tmp, src, w.format.cut, stop); err != nil {
		return tmp.Name(), err
	}
	return tmp.Name(), errors.Join(tmp.Chmod(fileMode), tmp.Sync())
}

// lines counts the ends of lines, at least one.
func lines(p []byte) uint64 { return uint64(max(1, bytes.Count(p, newline))) }
