package hygiene

import (
	"strings"
	"testing"
)

// layers lists the rooms from the top down. A package may import packages of
// its own room and of rooms below, never of rooms above. A room of several
// names on one line shares a height: those may not import each other.
var layers = [][]string{
	{"cmd"},
	{"internal/daemon"},
	{"internal/cli", "internal/api", "internal/system", "internal/config", "internal/metrics", "internal/trace"},
	{"internal/container", "internal/doctor"},
	{"internal/image"},
	{"internal/network"},
	{"internal/volume"},
	{"internal/monitor", "internal/oci"},
	{"internal/log", "internal/event"},
	{"internal/runtime"},
	{"internal/store"},
	{"internal/space"},
	{"internal/request"},
	{"internal/filter", "internal/undo", "internal/version"},
	{"internal/durable", "internal/reconcile"},
}

// sideways lists the imports that the order above forbids and that are right all the same.
var sideways = map[[2]string]string{
	{"internal/api", "internal/log"}: "the edge frames log entries; it needs their type alone",
}

// forbidden lists imports that a room must never have, however deep, with the reason.
var forbidden = []struct{ room, prefix, reason string }{
	{"internal/cli", "github.com/containerd/containerd", "the command line starts in 5 ms: it knows the API client and little else"},
	{"internal/cli", "google.golang.org/grpc", "the command line starts in 5 ms"},
	{"internal/cli", "github.com/moby/buildkit", "the command line starts in 5 ms"},
	{"internal/runtime", "net/http", "the runtime is linked into hoy-run, which is measured in kilobytes"},
	{"internal/monitor", "net/http", "the monitor is hoy-run, which is measured in kilobytes"},
	{"internal/monitor", "github.com/containerd/containerd", "the monitor is hoy-run, which is measured in kilobytes"},
}

func room(pkg string) (height int, name string) {
	best, bestName := -1, ""
	for i, row := range layers {
		for _, r := range row {
			if (pkg == r || strings.HasPrefix(pkg, r+"/")) && len(r) > len(bestName) {
				best, bestName = i, r
			}
		}
	}
	return best, bestName
}

func TestImportsGoOneWay(t *testing.T) {
	for _, p := range packages(t) {
		from, fromRoom := room(p.path)
		if from < 0 {
			if !strings.HasPrefix(p.path, "test") && !strings.HasPrefix(p.path, "bench") {
				t.Errorf("%s is in no room: add it to the layers with its place", p.path)
			}
			continue
		}
		for imp := range p.imports {
			dep, ours := strings.CutPrefix(imp, "hoy/")
			if !ours {
				checkForbidden(t, p.path, fromRoom, imp)
				continue
			}
			to, toRoom := room(dep)
			if toRoom == fromRoom || to > from {
				continue
			}
			if _, ok := sideways[[2]string{fromRoom, toRoom}]; ok {
				continue
			}
			t.Errorf("%s imports %s: imports go down the list of rooms, never up or sideways", p.path, dep)
		}
	}
}

func checkForbidden(t *testing.T, path, fromRoom, imp string) {
	t.Helper()
	for _, f := range forbidden {
		if fromRoom == f.room && strings.HasPrefix(imp, f.prefix) {
			t.Errorf("%s imports %s: %s", path, imp, f.reason)
		}
	}
}

func TestEveryExceptionIsUsed(t *testing.T) {
	used := map[[2]string]bool{}
	for _, p := range packages(t) {
		_, fromRoom := room(p.path)
		for imp := range p.imports {
			if dep, ours := strings.CutPrefix(imp, "hoy/"); ours {
				_, toRoom := room(dep)
				used[[2]string{fromRoom, toRoom}] = true
			}
		}
	}
	for pair, reason := range sideways {
		if !used[pair] {
			t.Errorf("the exception %v (%s) is not used any more: delete it", pair, reason)
		}
	}
}
