package stress

import (
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"hoy/test/e2e/engine"
)

// smallDisk mounts a file system of 96 MiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: mounts a file system")
	}
	dir := t.TempDir()
	image, mnt := filepath.Join(dir, "disk"), filepath.Join(dir, "mnt")
	if err := os.Mkdir(mnt, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 96<<20); err != nil {
		t.Fatal(err)
	}
	for _, argv := range [][]string{{"mkfs.ext4", "-q", "-F", image}, {"mount", "-o", "loop", image, mnt}} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Skipf("needs a loop device: %v: %v: %s", argv, err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", mnt).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return mnt
}

// noise is the root file system of one large file of n bytes that do not compress.
func noise(t *testing.T, n int) string {
	t.Helper()
	root := t.TempDir()
	data := make([]byte, n)
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
// room says so, what makes room works, and then everything does.
func TestFullDisk(t *testing.T) {
	disk := smallDisk(t)
	big := noise(t, 8<<20)
	e := engine.Start(t, "--data-root", disk+"/data")
	e.Busybox()
	e.Must("run", "-d", "--name", "ticker", "busybox", "sh", "-c", "while :; do echo tick; sleep 1; done")
	e.Must("run", "--name", "done", "busybox", "true")
	filler := filepath.Join(disk, "filler")
	_ = exec.Command("dd", "if=/dev/zero", "of="+filler, "bs=64k").Run() // ends with the disk's end
	e.Hoy("import", big, "big").Refused(t, 1, "no space left on device")
	if out := e.Must("exec", "ticker", "echo", "here"); out != "here" {
		t.Errorf("exec on a full disk: %q", out)
	}
	e.Must("rm", "done")
	if got := e.Must("ps", "-a", "--format", "{{.Names}} {{.State}}"); got != "ticker running" {
		t.Errorf("on a full disk: %s", got)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	e.Must("import", big, "big")
	if out := e.Must("run", "--rm", "busybox", "echo", "room"); out != "room" {
		t.Errorf("after there was room again: %q", out)
	}
	e.Must("rm", "-f", "ticker")
}
