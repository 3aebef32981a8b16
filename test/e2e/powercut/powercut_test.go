// Package powercut cuts the power under an engine at work: its data is on a
// disk that remembers every write, and that can be given back as it was at any
// moment, with any of the writes that were not flushed yet left out.
package powercut

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"hoy/test/e2e/engine"
	"hoy/test/e2e/powercut/device"
)

// diskSize is the disk's size in bytes: room for the workload below.
const diskSize = 320 << 20

// TestPowerCut works with an engine, then takes the power away at moments of
// that work, and starts an engine on what each cut leaves.
func TestPowerCut(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: mounts file systems")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skipf("needs FUSE for a disk that remembers: %v", err)
	}
	cuts, rounds, workers := 4, 2, 3
	if os.Getenv("HOY_LONG") != "" {
		cuts, rounds = 50, 12
	}
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("HOY_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("HOY_SEED=%d; moments differ from run to run all the same", seed)
	chance := rand.New(rand.NewPCG(seed, 1))

	w := work(t, workers, rounds)
	end := w.disk.Position()
	flushes := w.disk.Flushes(end)
	t.Logf("%d acknowledged steps, %d writes of a sector, %d flushes", len(w.facts), end-flushes, flushes)
	image := filepath.Join(w.dir, "cut")
	for i := range cuts {
		at := end/10 + chance.IntN(end-end/10)
		if err := w.disk.Cut(image, at, chance); err != nil {
			t.Fatal(err)
		}
		t.Run(fmt.Sprintf("cut %d", i), func(t *testing.T) { verify(t, w, image, at) })
	}
}

// mountLoop mounts the file at dir, which is made.
func mountLoop(t *testing.T, file, dir, options string) (unmount func()) {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "ext4", "-o", "loop"+options, file, dir).CombinedOutput(); err != nil {
		t.Fatalf("mount as after a crash: %v: %s", err, out)
	}
	return func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	}
}

// workload is what an engine did on a disk.
type workload struct {
	t    *testing.T
	dir  string
	disk *device.Device
	e    *engine.Engine
	facts
}

func work(t *testing.T, workers, rounds int) *workload {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "hoy-powercut-") //nolint:usetesting // the log and the disks are memory, not the disk of the machine
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	disk, err := device.New(filepath.Join(dir, "fuse"), diskSize)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := disk.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &workload{t: t, dir: dir, disk: disk}
	// Nothing is left to be made later: an ext4 that was just made goes on writing.
	mkfs := exec.Command("mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", disk.Path)
	if out, err := mkfs.CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v: %s", err, out)
	}
	ok := t.Run("work", func(t *testing.T) {
		w.t = t
		w.e = engine.StartOn(t, "", func(data string) func() { return mountLoop(t, disk.Path, data, ",commit=1") })
		w.run(workers, rounds)
	})
	w.t = t
	if !ok {
		t.FailNow()
	}
	return w
}

// verify starts an engine on what a cut left and compares it with what had been
// acknowledged by then.
func verify(t *testing.T, w *workload, image string, at int) {
	t.Helper()
	began := time.Now()
	// Records have absolute paths: it is the same engine, after its machine came back.
	e := engine.StartOn(t, w.e.Dir, func(data string) func() { return mountLoop(t, image, data, "") })
	started := time.Since(began)
	v := &verifier{t: t, e: e, at: at}
	v.blobs()
	images, containers, volumes := v.compare(w.facts)
	v.contents(images)
	v.starts(containers)
	e.Check()
	t.Logf("the disk of write %d after %v: mounted and started in %v; %d images, %d containers, %d volumes as acknowledged",
		at, w.when(at), started.Round(time.Millisecond), len(images), len(containers), volumes)
	if log := e.Log(); strings.Contains(log, "panic") {
		t.Errorf("the daemon's log:\n%s", log)
	}
}
