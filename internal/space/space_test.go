package space

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// small mounts a file system of n bytes in memory.
func small(t *testing.T, n int) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: mounts a file system")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", n)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func opened(t *testing.T, dir string, reserve int64) *Disk {
	t.Helper()
	d, err := Open(Options{Root: dir, Reserve: reserve})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// blocks is what a file takes on disk.
func blocks(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

func TestReserveIsGivenAwayInPartsAndMadeAgain(t *testing.T) {
	dir := small(t, 64<<20)
	d := opened(t, dir, 16<<20)
	file := filepath.Join(dir, reserveName)
	if got := blocks(t, file); got != 16<<20 {
		t.Fatalf("the reserve has %d bytes", got)
	}
	if !d.Ease() || blocks(t, file) != 16<<20 {
		t.Error("a disk with room took of the reserve")
	}
	filler := filepath.Join(dir, "filler")
	fill := func() {
		_ = exec.Command("dd", "if=/dev/zero", "of="+filler, "bs=4k", "oflag=append", "conv=notrunc").Run() // ends with the disk's end
	}
	for part := int64(1); part <= parts; part++ {
		fill()
		if !d.Ease() {
			t.Fatalf("part %d: nothing was given", part)
		}
		if got := blocks(t, file); got != 16<<20-part*(2<<20) {
			t.Errorf("part %d: the reserve has %d bytes", part, got)
		}
		if err := os.WriteFile(filepath.Join(dir, "record"), make([]byte, 64<<10), 0o600); err != nil { //nolint:forbidigo // a test's own file
			t.Errorf("part %d: %v", part, err)
		}
	}
	fill()
	if d.Ease() || d.GiveWay() {
		t.Error("more than the reserve was given away")
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(3 * checkEvery); blocks(t, file) != 16<<20; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the reserve is not made again: %d bytes", blocks(t, file))
		}
	}
	_ = d.GiveWay() // it is watched again
	if got := blocks(t, file); got != 14<<20 {
		t.Errorf("told that the disk is full: %d bytes are kept", got)
	}
}

func TestReserveOfAnotherSize(t *testing.T) {
	dir := small(t, 64<<20)
	for _, size := range []int64{8 << 20, 4 << 20, 12 << 20, 0, 6 << 20} {
		d, err := Open(Options{Root: dir, Reserve: size})
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(dir, reserveName))
		if size == 0 && !os.IsNotExist(err) || size > 0 && (err != nil || info.Size() != size) {
			t.Errorf("reserve of %d: %v, %v", size, info, err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	for total, want := range map[int64]int64{1 << 40: 64 << 20, 5 << 30: 26843545, 1 << 30: 16 << 20, 64 << 20: 4 << 20} {
		if got := reserveFor(total); got != want {
			t.Errorf("reserve for %d: %d, want %d", total, got, want)
		}
	}
}

func TestNeedAndExplainHaveTheNumbers(t *testing.T) {
	dir := small(t, 64<<20)
	d := opened(t, dir, 16<<20)
	if err := d.Need("x", 30<<20); err != nil {
		t.Error(err)
	}
	err := d.Need("pull of x", 60<<20)
	if !errdefs.IsResourceExhausted(err) {
		t.Fatalf("class of %v", err)
	}
	want := "no space left on device: pull of x needs at least 62.91MB, 50.33MB are free on " + dir + " (plus 16.78MB of reserve)"
	if err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	hint := int64(5e6)
	d.SetHint(func() int64 { return hint })
	full := d.Explain("load", fmt.Errorf("write y: %w", unix.ENOSPC))
	if !errdefs.IsResourceExhausted(full) || !errors.Is(full, unix.ENOSPC) || !strings.Contains(full.Error(), "hoy system prune would free 5MB") {
		t.Errorf("%v", full)
	}
	hint = 0
	if err := d.Need("x", 1<<40); !strings.HasSuffix(err.Error(), "; hoy system df shows what takes space") {
		t.Error(err)
	}
	if other := errors.New("other"); d.Explain("load", other).Error() != "other" || d.Explain("load", nil) != nil {
		t.Error("an error that is not of a full disk was changed")
	}
	var none *Disk
	if none.Need("x", 1<<60) != nil || none.Ease() || none.GiveWay() || none.Explain("x", unix.ENOSPC) != unix.ENOSPC { //nolint:errorlint // it is to be the same
		t.Error("no disk has bounds")
	}
}
