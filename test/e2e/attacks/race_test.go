package attacks

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hoy/test/e2e/engine"
)

// TestSwappedMountTargets starts containers whose mount points a neighbour
// exchanges for a link to the host all the time, by a volume that both have.
func TestSwappedMountTargets(t *testing.T) {
	e := start(t)
	host := victim(t)
	e.Must("run", "--rm", "-v", "shared:/v", "busybox", "ln", "-s", "../../../../../../../.."+host, "/v/link")
	e.Must("run", "-d", "--name", "racer", "-v", "shared:/v", "busybox", "/bin/probe", "swap", "/v")
	engine.Eventually(t, "the racer is ready", func() bool { return strings.Contains(e.Must("logs", "racer"), "ready") })
	ran, refused := 0, map[string]int{}
	for i := range 40 {
		r := e.Hoy("run", "--rm", "-v", "shared:/v", "-v", "other:/v/x/in/it", "-v", fmt.Sprintf("n%d:/v/x", i), "-w", "/v/x/wd", "busybox", "sh", "-c", "pwd; cat secret ../secret /v/x/secret")
		switch {
		case strings.Contains(r.Out, "of the host"):
			t.Fatalf("the host's file was read: %q", r.Out)
		case r.Code == 125:
			refused[r.Err]++
		default:
			ran++
		}
	}
	for i := range 20 {
		src := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(src, []byte("written"), 0o600); err != nil {
			t.Fatal(err)
		}
		e.Hoy("cp", src, fmt.Sprintf("racer:/v/x/new%d", i))
		if r := e.Hoy("cp", "racer:/v/x/secret", "-"); strings.Contains(r.Out, "of the host") {
			t.Fatal("cp read the host's file")
		}
		if r := e.Hoy("exec", "-w", "/v/x", "racer", "cat", "secret"); strings.Contains(r.Out, "of the host") {
			t.Fatal("exec read the host's file")
		}
		if r := e.Hoy("run", "--rm", "--mount", "type=volume,src=shared,dst=/d,volume-subpath=x", "busybox", "cat", "/d/secret"); strings.Contains(r.Out, "of the host") {
			t.Fatal("a subpath led to the host's file")
		}
	}
	t.Logf("%d ran, refused: %v", ran, refused)
	e.Must("rm", "-f", "racer")
	alive(t, e)
}

// TestRenamesDisturbNobody renames without pause in one container, and starts
// others whose paths go through "..": the kernel then asks to look again.
func TestRenamesDisturbNobody(t *testing.T) {
	e := start(t)
	image(t, e, "dots", []string{"WORKDIR /wd"}, link("wd", "tmp/../tmp/../home"), link("etc/hosts", "../tmp/../etc/there"), reg("etc/there", ""))
	e.Must("run", "-d", "--name", "renamer", "busybox", "sh", "-c", "mkdir -p /v/link; exec /bin/probe swap /v")
	e.Must("run", "-d", "--name", "renamer2", "busybox", "sh", "-c", "mkdir -p /v/link; exec /bin/probe swap /v")
	for i := range 100 {
		if r := e.Hoy("run", "--rm", "dots", "pwd"); r.Code != 0 || r.Out != "/home\n" {
			t.Fatalf("start %d: exit %d, %q %q", i, r.Code, r.Out, r.Err)
		}
	}
}
