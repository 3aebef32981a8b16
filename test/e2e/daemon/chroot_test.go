package daemon

import (
	"os"
	"testing"

	"hoy/test/e2e/engine"
)

// TestAChrootIsRefused starts hoyd below a bind of the whole tree, in a mount
// namespace that goes with the command.
func TestAChrootIsRefused(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: makes a mount namespace")
	}
	dir := t.TempDir()
	bin := engine.Bin(t, "hoyd")
	script := `mount --rbind / "$0/root" && exec chroot "$0/root" "$1" -H "unix://$0/s" --data-root "$0/data" --exec-root "$0/run"`
	if err := os.MkdirAll(dir+"/root", 0o755); err != nil {
		t.Fatal(err)
	}
	engine.Run(t, "", "unshare", "--mount", "--propagation", "private", "sh", "-c", script, dir, bin).Refused(t, 1, "hoyd runs in a chroot")
	if _, err := os.Stat(dir + "/data"); err == nil {
		t.Error("a refused start made its data root")
	}
}
