// Package full fills the disk under an engine.
package full

import (
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hoy/test/e2e/engine"
)

// Sizes in bytes.
const (
	diskSize    = 160 << 20
	reserveSize = 10 << 20 // a sixteenth of the disk, nearly
	bigSize     = 24 << 20
)

// disk is a small file system with an engine's data.
type disk struct {
	t    *testing.T
	data string
}

// mount puts a new file system at data.
func (d *disk) mount(data string) (release func()) {
	d.data = data
	image := filepath.Join(filepath.Dir(data), "disk")
	if err := os.Mkdir(data, 0o700); err != nil {
		d.t.Fatal(err)
	}
	for _, argv := range [][]string{
		{"truncate", "-s", strconv.Itoa(diskSize), image}, {"mkfs.ext4", "-q", "-F", image}, {"mount", "-o", "loop", image, data},
	} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			d.t.Skipf("needs a loop device: %v: %v: %s", argv, err, out)
		}
	}
	return func() {
		if out, err := exec.Command("umount", data).CombinedOutput(); err != nil {
			d.t.Errorf("umount: %v: %s", err, out)
		}
	}
}

func (d *disk) filler() string { return filepath.Join(d.data, "filler") }

// fill leaves so many bytes of what anybody may use; zero leaves not even what only root may.
func (d *disk) fill(leave int64) {
	d.t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(d.data, &st); err != nil {
		d.t.Fatal(err)
	}
	if leave > 0 {
		size := int64(st.Bavail)*st.Bsize - leave
		if out, err := exec.Command("fallocate", "-l", strconv.FormatInt(size, 10), d.filler()).CombinedOutput(); err != nil {
			d.t.Fatalf("%v: %s", err, out)
		}
		return
	}
	_ = exec.Command("dd", "if=/dev/zero", "of="+d.filler(), "bs=64k", "oflag=append", "conv=notrunc").Run() // ends with the disk's end
	_ = exec.Command("dd", "if=/dev/zero", "of="+d.filler()+"2", "bs=4k").Run()                              // the last blocks
}

func (d *disk) free() {
	d.t.Helper()
	for _, path := range []string{d.filler(), d.filler() + "2"} {
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			d.t.Fatal(err)
		}
	}
}

func (d *disk) reserve() int64 {
	info, err := os.Stat(filepath.Join(d.data, "reserve"))
	if err != nil {
		d.t.Error(err)
		return 0
	}
	return info.Size()
}

// noise is the path of a root file system of one large file that does not compress.
func noise(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	data := make([]byte, bigSize)
	_, _ = rand.Read(data)
	if err := os.WriteFile(filepath.Join(root, "noise"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "noise.tar")
	if out, err := exec.Command("tar", "-C", root, "-cf", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// TestFullDisk fills the disk under the engine: what runs goes on, what needs
// room says how much, what makes room works, and then everything does.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: mounts a file system")
	}
	d := &disk{t: t}
	e := engine.StartOn(t, "", d.mount)
	registry := engine.Registry(t, t.TempDir())
	e.Busybox()
	big := registry + "/big"
	tarball, saved := noise(t), filepath.Join(t.TempDir(), "saved.tar")
	e.Must("import", tarball, big)
	e.Must("push", big)
	e.Must("save", "-o", saved, big)
	e.Must("rmi", big)
	if got := d.reserve(); got < reserveSize-(2<<20) || got > reserveSize {
		t.Errorf("the reserve has %d bytes, want a sixteenth of the disk, about %d", got, reserveSize)
	}

	// One counts where it can be seen, one logs more than there will be room for.
	e.Must("run", "-d", "--name", "ticker", "--tmpfs", "/n", "busybox", "sh", "-c", "i=0; while :; do i=$((i+1)); echo $i >/n/count; sleep 0.1; done")
	e.Must("run", "-d", "--name", "talker", "--tmpfs", "/n", "busybox", "sh", "-c",
		"i=0; while :; do i=$((i+1)); echo line $i of a text that is somewhat long, so that it takes space; echo $i >/n/count; [ $((i%50)) = 0 ] && usleep 20000; done")
	for _, name := range []string{"done1", "done2", "done3"} {
		e.Must("run", "--name", name, "busybox", "sh", "-c", "dd if=/dev/zero of=/f bs=1M count=3 2>/dev/null")
	}
	e.Must("run", "-d", "--name", "tostop", "--stop-timeout", "1", "busybox", "sleep", "1000")
	e.Must("volume", "create", "vol")
	e.Must("run", "--rm", "-v", "vol:/v", "busybox", "sh", "-c", "echo x >/v/x")
	e.Must("tag", "busybox", "other")
	e.Must("run", "--name", "heavy", "busybox", "sh", "-c", "head -c 20000000 /dev/urandom >/f")

	f := &full{t: t, e: e, d: d, big: big, tarball: tarball, saved: saved}
	t.Run("refused with the numbers", func(t *testing.T) { f.t = t; f.refusals() })
	t.Run("broken off", func(t *testing.T) { f.t = t; f.brokenOff() })
	t.Run("full to the last block", func(t *testing.T) { f.t = t; f.lastBlock() })
	t.Run("started again", func(t *testing.T) { f.t = t; f.startedAgain() })
	t.Run("room again", func(t *testing.T) { f.t = t; f.roomAgain() })
}

// full is the acts of the test.
type full struct {
	t                   *testing.T
	e                   *engine.Engine
	d                   *disk
	big, tarball, saved string
}

// content is what the image store has on disk.
func (f *full) content() string {
	f.t.Helper()
	out, err := exec.Command("sh", "-c", "cd "+f.d.data+"/image && ls content/ingest content/blobs/sha256 overlayfs/snapshots trash").Output()
	if err != nil {
		f.t.Fatal(err)
	}
	return string(out)
}

// same waits until the image store is as it was before.
func (f *full) same(before string) {
	f.t.Helper()
	after := ""
	for range 100 {
		if after = f.content(); after == before {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	f.t.Errorf("half of something is there:\n%s\nbefore:\n%s", after, before)
}

// refusals are told before anything is written.
func (f *full) refusals() {
	t, e := f.t, f.e
	f.d.fill(18 << 20)
	before := f.content()
	for _, args := range [][]string{{"pull", f.big}, {"load", "-i", f.saved}, {"commit", "heavy", "heavy-image"}} {
		r := e.Hoy(args...)
		for _, want := range []string{"no space left on device", "needs at least ", " are free on " + f.d.data, " of reserve)", "hoy system prune would free "} {
			if r.Code != 1 || !strings.Contains(r.Err, want) {
				t.Errorf("%v: exit %d, no %q in %q", args, r.Code, want, r.Err)
			}
		}
	}
	t.Log(strings.TrimSpace(e.Hoy("pull", f.big).Err))
	f.same(before)
	f.d.free()
}

// brokenOff is what begins and does not fit: an import's size is not known.
func (f *full) brokenOff() {
	t, e := f.t, f.e
	f.d.fill(30 << 20)
	before := f.content()
	r := e.Hoy("import", f.tarball, "big")
	for _, want := range []string{"no space left on device", "ran out of space", " are free on ", "what it had written is removed"} {
		if r.Code != 1 || !strings.Contains(r.Err, want) {
			t.Errorf("import: exit %d, no %q in %q", r.Code, want, r.Err)
		}
	}
	t.Log(strings.TrimSpace(r.Err))
	f.same(before)
	f.d.free()
}

// lastBlock leaves nothing at all.
func (f *full) lastBlock() {
	t, e := f.t, f.e
	f.d.fill(0)
	ticks, lines := f.count("ticker"), f.count("talker")
	if out := e.Must("exec", "ticker", "echo", "here"); out != "here" {
		t.Errorf("exec on a full disk: %q", out)
	}
	e.Must("rm", "done1")
	e.Must("stop", "tostop")
	if got := e.Must("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "tostop"); got != "exited 137" {
		t.Errorf("stopped on a full disk: %s", got)
	}
	e.Must("rmi", "other")
	e.Must("volume", "rm", "vol")
	if got := f.d.reserve(); got >= reserveSize-(2<<20) {
		t.Errorf("nothing of the reserve was given away: %d bytes", got)
	}
	time.Sleep(300 * time.Millisecond)
	if again := f.count("ticker"); again <= ticks {
		t.Errorf("the container stands still: %d, then %d", ticks, again)
	}
	if again := f.count("talker"); again <= lines {
		t.Errorf("the container that logs stands still: %d, then %d", lines, again)
	}
}

func (f *full) count(name string) int {
	f.t.Helper()
	n := 0
	engine.Eventually(f.t, name+" counts", func() bool {
		n, _ = strconv.Atoi(f.e.Must("exec", name, "cat", "/n/count"))
		return n > 0
	})
	return n
}

// startedAgain kills the daemon while there is no room.
func (f *full) startedAgain() {
	t, e := f.t, f.e
	f.d.fill(0)
	e.Kill()
	e.Up()
	want := "done2 exited\ndone3 exited\nheavy exited\ntalker running\nticker running\ntostop exited"
	if got := sorted(e.Must("ps", "-a", "--format", "{{.Names}} {{.State}}")); got != want {
		t.Errorf("after a restart on a full disk:\n%s\nwant\n%s", got, want)
	}
	f.d.fill(0)
	e.Must("system", "prune", "-f")
	if got := sorted(e.Must("ps", "-a", "--format", "{{.Names}} {{.State}}")); got != "talker running\nticker running" {
		t.Errorf("after a prune on a full disk: %s", got)
	}
}

func sorted(lines string) string {
	all := strings.Split(lines, "\n")
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// roomAgain frees the disk: everything works, with the same daemon.
func (f *full) roomAgain() {
	t, e := f.t, f.e
	pid := e.Pid()
	f.d.free()
	e.Must("pull", f.big)
	e.Must("rmi", f.big)
	e.Must("load", "-i", f.saved)
	if out := e.Must("run", "--rm", "busybox", "echo", "room"); out != "room" {
		t.Errorf("after there was room again: %q", out)
	}
	// What is written now arrives in the log.
	e.Must("run", "--name", "logs", "busybox", "echo", "logged")
	if out := e.Must("logs", "logs"); out != "logged" {
		t.Errorf("logs after there was room again: %q", out)
	}
	last := f.count("talker")
	engine.Eventually(t, "the log of who went on goes on", func() bool {
		return strings.Contains(e.Must("logs", "--tail", "1", "talker"), "line ") && f.logged("talker") > last
	})
	engine.Eventually(t, "the reserve is whole again", func() bool { return f.d.reserve() >= reserveSize-(2<<20) })
	if e.Pid() != pid {
		t.Error("the daemon was started again")
	}
	e.Must("rm", "-f", "ticker", "talker")
	e.Check()
}

// logged is the number in the last line of a log.
func (f *full) logged(name string) int {
	words := strings.Fields(f.e.Must("logs", "--tail", "1", name))
	if len(words) < 2 {
		return 0
	}
	n, _ := strconv.Atoi(words[1])
	return n
}
