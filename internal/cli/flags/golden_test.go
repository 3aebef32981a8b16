package flags

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "write what the flags mean now to testdata/create.golden")

// TestGolden compares what each line of flags means with testdata/create.golden:
// the request in JSON, without what is empty. The docker command line agrees, see
// the tests of package containers.
func TestGolden(t *testing.T) {
	const golden = "testdata/create.golden"
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	for line := range strings.Lines(string(want)) {
		line, ok := strings.CutPrefix(strings.TrimSpace(line), "$ ")
		if !ok {
			continue
		}
		body, err := json.MarshalIndent(compact(t, specOf(t, line)), "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		got.WriteString("$ " + line + "\n" + string(body) + "\n\n")
	}
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if bytes.Equal(got.Bytes(), want) {
		return
	}
	gotLines, wantLines := strings.Split(got.String(), "\n"), strings.Split(string(want), "\n")
	flags := ""
	for i, line := range gotLines {
		if strings.HasPrefix(line, "$ ") {
			flags = line
		}
		if i >= len(wantLines) || line != wantLines[i] {
			t.Fatalf("%s:%d: %s\n got  %s\n want %s", golden, i+1, flags, line, strings.Join(wantLines[min(i, len(wantLines)-1):min(i+1, len(wantLines))], ""))
		}
	}
	t.Fatalf("%s has more lines", golden)
}

func specOf(t *testing.T, line string) *Spec {
	t.Helper()
	fs := pflag.NewFlagSet("run", pflag.ContinueOnError)
	for _, name := range []string{"name", "platform", "pull"} { // flags of the verbs, not of the container
		fs.String(name, "", "")
	}
	c := New(fs)
	if err := fs.Parse(words(line)); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	c.Image, c.Args = fs.Arg(0), fs.Args()[1:]
	spec, err := c.Spec(fs)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	spec.Attach(c, false)
	return spec
}

// words splits at spaces, except within single quotes.
func words(line string) []string {
	var out []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			out = append(out, part)
		} else {
			out = append(out, strings.Fields(part)...)
		}
	}
	return out
}

// compact returns v as JSON knows it, without what is empty.
func compact(t *testing.T, v any) any {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(data, &tree); err != nil {
		t.Fatal(err)
	}
	return prune(tree)
}

// names are maps whose keys are the value, however empty what they lead to.
var names = map[string]bool{"ExposedPorts": true, "Volumes": true, "EndpointsConfig": true, "Tmpfs": true, "Labels": true, "PortBindings": true}

func prune(v any) any {
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	for key, sub := range m {
		if inner, ok := sub.(map[string]any); ok && names[key] {
			for name := range inner {
				inner[name] = prune(inner[name])
			}
		} else {
			sub = prune(sub)
		}
		switch s := sub.(type) {
		case nil:
			delete(m, key)
		case string:
			if s == "" {
				delete(m, key)
			}
		case bool:
			if !s && key != "Init" {
				delete(m, key)
			}
		case float64:
			if s == 0 {
				delete(m, key)
			}
		case []any:
			if len(s) == 0 && key != "MaskedPaths" && key != "ReadonlyPaths" {
				delete(m, key)
			}
		case map[string]any:
			if len(s) == 0 {
				delete(m, key)
			}
		}
	}
	return m
}

func TestFiles(t *testing.T) {
	t.Setenv("FROM_OUTSIDE", "yes")
	dir := t.TempDir()
	t.Chdir(dir)
	for name, content := range map[string]string{
		"env": "\xef\xbb\xbf# comment\nA=1\n  B=two words \nFROM_OUTSIDE\nNOT_SET\nE=\n", "labels": "x=1\ny\n", "seccomp": "{\n \"a\": 1\n}\n", "bad": "{",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	spec := specOf(t, "--env-file env -e A=2 -e FROM_OUTSIDE --label-file labels -l x=2 --security-opt seccomp=seccomp --security-opt systempaths=unconfined -v ./rel:/d -v ~/x:/h img")
	if got, want := strings.Join(spec.Config.Env, ","), "A=1,B=two words ,FROM_OUTSIDE=yes,E=,A=2,FROM_OUTSIDE=yes"; got != want {
		t.Errorf("env %q, want %q", got, want)
	}
	if l := spec.Config.Labels; l["x"] != "2" || l["y"] != "" || len(l) != 2 {
		t.Errorf("labels %q", l)
	}
	if s := spec.Host.SecurityOpt; len(s) != 1 || s[0] != `seccomp={"a":1}` {
		t.Errorf("security %q", s)
	}
	if spec.Host.MaskedPaths == nil || spec.Host.ReadonlyPaths == nil {
		t.Error("system paths are confined")
	}
	home, _ := os.UserHomeDir()
	if b := spec.Host.Binds; b[0] != dir+"/rel:/d" || b[1] != home+"/x:/h" {
		t.Errorf("binds %q", b)
	}
	fs := pflag.NewFlagSet("run", pflag.ContinueOnError)
	c := New(fs)
	if err := fs.Parse([]string{"--security-opt", "seccomp=bad"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Spec(fs); err == nil || !strings.Contains(err.Error(), "compacting json for seccomp profile (bad) failed") {
		t.Errorf("%v", err)
	}
}
