package full

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/system"

	"hoy/internal/request"
	"hoy/test/e2e/engine"
)

// ask gets a document of the API.
func ask(t *testing.T, e *engine.Engine, path string, out any) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", strings.TrimPrefix(e.Host, "unix://"))
	}}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://hoy"+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(out); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", path, answer.Status, err)
	}
}

func du(t *testing.T, dir string) int64 {
	t.Helper()
	out, err := exec.Command("du", "-sx", "--block-size=1", dir).Output()
	if err != nil {
		return -1 // something went away meanwhile
	}
	n, err := strconv.ParseInt(strings.Fields(string(out))[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// equalsDu compares the sum of what df lists with du, once things are quiet.
func equalsDu(t *testing.T, e *engine.Engine, when string) *system.DiskUsage {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		var u system.DiskUsage
		var s request.Space
		ask(t, e, "/system/df?verbose=1", &u)
		ask(t, e, "/hoy/system/space", &s)
		sum := u.ImageUsage.TotalSize + u.ContainerUsage.TotalSize + u.VolumeUsage.TotalSize + u.BuildCacheUsage.TotalSize + s.Engine
		disk := du(t, e.Dir+"/data")
		if sum == disk && s.Total == disk {
			t.Logf("%s: images %d + containers %d + volumes %d + engine %d = du %d", when,
				u.ImageUsage.TotalSize, u.ContainerUsage.TotalSize, u.VolumeUsage.TotalSize, s.Engine, disk)
			return &u
		}
		if time.Now().After(deadline) {
			t.Errorf("%s: df lists %d bytes (images %d, containers %d, volumes %d, engine %d; total %d, stale %d), du says %d", when, sum,
				u.ImageUsage.TotalSize, u.ContainerUsage.TotalSize, u.VolumeUsage.TotalSize, s.Engine, s.Total, s.Stale, disk)
			return &u
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func TestDiskUsageEqualsDu(t *testing.T) {
	e := engine.Start(t)
	equalsDu(t, e, "an empty engine")
	e.Busybox()
	e.Must("volume", "create", "vol")
	// Runs, writes a layer, a volume and a log of more than a megabyte.
	e.Must("run", "-d", "--name", "writer", "-v", "vol:/v", "busybox", "sh", "-c",
		"dd if=/dev/zero of=/big bs=1M count=9 2>/dev/null; dd if=/dev/zero of=/v/f bs=1M count=5 2>/dev/null; seq 100000; touch /done; sleep 1000")
	engine.Eventually(t, "it has written", func() bool { return e.Hoy("exec", "writer", "test", "-e", "/done").Code == 0 })
	u := equalsDu(t, e, "a container that runs")
	if got := u.ContainerUsage.Items[0].SizeRw; got < 9<<20 || got > 10<<20 {
		t.Errorf("the writable layer has %d bytes", got)
	}
	if logs := u.ContainerUsage.TotalSize - u.ContainerUsage.Items[0].SizeRw; logs < 1<<20 {
		t.Errorf("logs are not counted: %d bytes beside the layer", logs)
	}
	if got := u.VolumeUsage.Items[0].UsageData.Size; got < 5<<20 || got > 6<<20 {
		t.Errorf("the volume has %d bytes", got)
	}
	if got := e.Must("ps", "-s", "--format", "{{.Size}}"); !strings.HasPrefix(got, "9.4") || !strings.Contains(got, "virtual") {
		t.Errorf("ps -s: %s", got)
	}
	e.Must("commit", "writer", "committed")
	e.Must("run", "--name", "second", "committed", "rm", "/big")
	equalsDu(t, e, "with an image of it")
	out := e.Must("system", "df")
	if !strings.Contains(out, "\nEngine ") {
		t.Errorf("system df:\n%s", out)
	}
	t.Logf("\n%s", out)
	if out = e.Must("system", "df", "-v"); !strings.Contains(out, "\nEngine space usage: ") || !strings.Contains(out, "\nTotal below "+e.Dir+"/data: ") {
		t.Errorf("system df -v:\n%s", out)
	}
	e.Kill()
	e.Up()
	equalsDu(t, e, "after a kill")
	e.Must("rm", "-f", "writer", "second")
	e.Must("rmi", "committed")
	e.Must("volume", "rm", "vol")
	equalsDu(t, e, "after removals")
}

// TestDiskUsageOfMany: what is large is not walked while somebody waits.
func TestDiskUsageOfMany(t *testing.T) {
	e := engine.Start(t)
	e.Must("volume", "create", "many")
	data := e.Dir + "/data/volumes/many/_data"
	for i := range 300 {
		dir := filepath.Join(data, strconv.Itoa(i))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for j := range 100 {
			f, err := os.Create(filepath.Join(dir, strconv.Itoa(j)))
			if err != nil {
				t.Fatal(err)
			}
			_ = f.Close()
		}
	}
	began := time.Now()
	var u system.DiskUsage
	ask(t, e, "/system/df", &u)
	first := time.Since(began)
	equalsDu(t, e, "30,000 files in a volume")
	t.Logf("the first answer took %v", first.Round(time.Millisecond))
	if first > 3*time.Second {
		t.Errorf("the first answer took %v", first)
	}
}
