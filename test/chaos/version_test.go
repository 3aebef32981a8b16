package chaos

import (
	"debug/buildinfo"
	"os"
	"os/exec"
	"testing"

	"hoy/test/e2e/engine"
)

// otherVersion builds daemon and monitor that call themselves another version
// than those under test: with the revision where those have none, and without
// where they have it.
func otherVersion(t *testing.T) string {
	t.Helper()
	name := func(path string) string {
		info, err := buildinfo.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return info.Main.Version + s.Value
			}
		}
		return info.Main.Version
	}
	dir := t.TempDir()
	first := name(engine.Bin(t, "hoy-run"))
	for _, vcs := range []string{"-buildvcs=true", "-buildvcs=false"} {
		build := exec.Command("go", "build", "-trimpath", vcs, "-o", dir+"/", "hoy/cmd/hoyd", "hoy/cmd/hoy-run")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		out, err := build.CombinedOutput()
		if err == nil && name(dir+"/hoy-run") != first {
			t.Logf("%s and %s take turns", first, name(dir+"/hoy-run"))
			return dir
		}
		t.Logf("%s: %v %s", vcs, err, out)
	}
	t.Skip("no build of another version: the tree has no revision that Go can read")
	return ""
}
