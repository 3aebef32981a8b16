// Package damage harms each file that an engine keeps, one at a time, and asks
// what it cost: at most the object that the file belongs to, and that is named.
package damage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"hoy/test/e2e/engine"
)

// harms are what happens to a file.
var harms = []struct {
	name string
	do   func(good []byte) []byte
}{
	{"truncated", func(good []byte) []byte { return good[:len(good)/2] }},
	{"emptied", func([]byte) []byte { return nil }},
	{"zeroed", func(good []byte) []byte { return make([]byte, len(good)) }},
	{"flipped", func(good []byte) []byte {
		b := bytes.Clone(good)
		at := len(b) / 2
		for _, word := range []string{"busybox", "sha256:", "kept"} {
			// In a database most bytes are free: not so where one of these is.
			if i := bytes.LastIndex(b, []byte(word)); i >= 0 && bytes.HasPrefix(b[16:], []byte("\xed\xda\x0c\xed")) {
				at = i + 2
			}
		}
		b[at] ^= 0x10
		return b
	}},
}

// made says of a file that the engine writes it anew at each start of a
// container, or that it is the container's own output: damage there costs
// nothing that could be named. An event log that was emptied is one of an engine
// in which nothing has happened; sizes that are not known are counted anew.
var made = regexp.MustCompile(`/containers/[0-9a-f]{64}/(hosts|hostname|resolv\.conf|.*\.log.*)$|/engine\.lock$|/(events|usage\.json)$`)

// kept lists the files that the engine keeps: not those of containers, layers
// and volumes, whose content is not the engine's.
func kept(t *testing.T, root string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := strings.TrimPrefix(path, root)
		if d.IsDir() {
			for _, own := range []string{`^/image/[^/]+/snapshots$`, `^/image/writable/[^/]+/(fs|work)$`, `^/volumes/[^/]+/_data$`, `/shm$`} {
				if regexp.MustCompile(own).MatchString(rel) {
					return fs.SkipDir
				}
			}
			return nil
		}
		if d.Type().IsRegular() {
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// seen is what the engine serves: objects by name, each with what it says of it.
func seen(e *engine.Engine) map[string]string {
	all := map[string]string{"engine": e.Hoy("info", "--format", "{{.ID}}").Out}
	for _, kind := range []struct {
		name, format string
		list         []string
	}{
		{"container", "{{.Name}} {{.Image}} {{.State.Status}} {{.State.ExitCode}} {{.Config.Cmd}} {{.HostConfig.RestartPolicy.Name}} {{json .Mounts}}", []string{"ps", "-aq", "--no-trunc"}},
		{"image", "{{.RepoTags}} {{.RootFS.Layers}} {{.Config.Cmd}}", []string{"images", "-q", "--no-trunc"}},
		{"volume", "{{.Name}} {{.Labels}} {{.CreatedAt}}", []string{"volume", "ls", "-q"}},
		{"network", "{{.Name}} {{.Driver}} {{.Id}}", []string{"network", "ls", "-q", "--no-trunc"}},
	} {
		ids := strings.Fields(e.Hoy(kind.list...).Out)
		slices.Sort(ids)
		for _, id := range slices.Compact(ids) {
			r := e.Hoy("inspect", "--type", kind.name, "--format", kind.format, id)
			all[kind.name+" "+id] = fmt.Sprintf("%s%s", r.Out, r.Err)
		}
	}
	return all
}

func differences(want, got map[string]string) []string {
	var list []string
	for k, v := range want {
		if got[k] != v {
			list = append(list, fmt.Sprintf("%s: %q, was %q", k, got[k], v))
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			list = append(list, k+" is new")
		}
	}
	slices.Sort(list)
	return list
}

// named lists the objects that `hoy system check` calls damaged.
func named(t *testing.T, e *engine.Engine, flags ...string) []string {
	t.Helper()
	r := e.Hoy(append([]string{"system", "check", "--format", "json"}, flags...)...)
	var list []string
	for line := range strings.Lines(r.Out) {
		var f struct{ Kind, Object, Store, Machine string }
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Errorf("system check: %v: %s%s", err, line, r.Err)
			continue
		}
		list = append(list, fmt.Sprintf("%s %s: %s; %s", f.Kind, f.Object, f.Store, f.Machine))
	}
	if want := min(len(list), 1); r.Code != want {
		t.Errorf("system check: exit code %d with %d findings: %s", r.Code, len(list), r.Err)
	}
	return list
}

// populate makes one of everything, and leaves one container running.
func populate(t *testing.T, e *engine.Engine) {
	t.Helper()
	e.Busybox()
	e.Must("tag", "busybox", "other:v1")
	e.Must("volume", "create", "--label", "kind=kept", "data")
	e.Must("volume", "create", "empty")
	e.Must("run", "-d", "--name", "runs", "--restart", "unless-stopped", "-v", "data:/data", "busybox", "sh", "-c", "echo here >/data/word; echo out; sleep 1000")
	e.Hoy("run", "--name", "ended", "-v", "/anonymous", "busybox", "sh", "-c", "echo said; exit 3")
	e.Must("create", "--name", "new", "busybox", "true")
	engine.Eventually(t, "the word is written", func() bool { return e.Hoy("exec", "runs", "cat", "/data/word").Out == "here\n" })
}

func TestEachFile(t *testing.T) {
	e := engine.Start(t)
	populate(t, e)
	e.Stop()
	e.Up() // so that all that is done once at a start is done
	want := seen(e)
	pid := e.Must("inspect", "-f", "{{.State.Pid}}", "runs")
	if list := named(t, e); len(list) > 0 {
		t.Fatalf("before anything is damaged: %v", list)
	}
	e.Stop()
	files := kept(t, filepath.Join(e.Dir, "data"))
	if len(files) < 15 {
		t.Fatalf("only %d files: %v", len(files), files)
	}
	starts, silent := 0, 0
	for i, path := range files {
		good, err := os.ReadFile(path)
		if err != nil {
			continue // made anew under another name meanwhile
		}
		if len(good) == 0 {
			continue
		}
		for k, harm := range harms {
			// All of them to all files takes minutes: each run has the flip of
			// each, and one other in turn.
			if os.Getenv("HOY_LONG") == "" && harm.name != "flipped" && i%(len(harms)-1) != k {
				continue
			}
			good, err := os.ReadFile(path) // what is current: a start may have written it
			if err != nil {
				break
			}
			rel := strings.TrimPrefix(path, e.Dir)
			bad := harm.do(good)
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			e.Up()
			starts++
			what := rel + " " + harm.name
			var flags []string
			inImage := strings.Contains(path, "/content/blobs/")
			if inImage {
				flags = append(flags, "--images") // of a large blob only the size is looked at by itself
			}
			got, names := differences(want, seen(e)), named(t, e, flags...)
			if p := e.Must("inspect", "-f", "{{.State.Pid}}", "runs"); p != pid {
				t.Errorf("%s: the running container has pid %s, had %s", what, p, pid)
			}
			switch {
			case len(names) > 0 && !inImage:
				if text, _ := os.ReadFile(e.LogFile()); !bytes.Contains(text, []byte("damaged")) {
					t.Errorf("%s: not in the log", what)
				}
			case len(names) > 0:
			case len(got) > 0:
				t.Errorf("%s: nothing is named, and yet\n%s", what, strings.Join(got, "\n"))
			case harm.name != "flipped" && !made.MatchString(path):
				t.Errorf("%s: nothing is named", what)
			default:
				silent++
			}
			if len(got) > 3 {
				t.Errorf("%s: costs more than one object:\n%s", what, strings.Join(got, "\n"))
			}
			if testing.Verbose() {
				t.Logf("%s: costs %d; named: %s", what, len(got), strings.Join(names, " | "))
			}
			e.Stop()
			if err := os.WriteFile(path, good, 0o600); err != nil {
				t.Fatal(err)
			}
			if len(got) == 0 && !strings.HasSuffix(path, ".db") {
				continue // nothing to bring back; a database is behind its copy, until it is opened
			}
			e.Up()
			if got := differences(want, seen(e)); len(got) > 0 {
				t.Errorf("%s: with the sound file again:\n%s", what, strings.Join(got, "\n"))
			}
			e.Stop()
		}
	}
	e.Up()
	if got := differences(want, seen(e)); len(got) > 0 {
		t.Errorf("at the end:\n%s", strings.Join(got, "\n"))
	}
	for _, name := range []string{"runs", "ended"} {
		if out := e.Must("logs", name); out != map[string]string{"runs": "out", "ended": "said"}[name] {
			t.Logf("the log of %s, which was harmed like all: %q", name, out)
		}
	}
	e.Must("start", "ended")
	e.Must("start", "new")
	t.Logf("%d files, %d starts, %d without a trace: free space, or files that are made anew", len(files), starts, silent)
}
