package runtimes

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

// script writes an executable file.
func script(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil { //nolint:gosec // it is to be executed
		t.Fatal(err)
	}
	return path
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	mine := script(t, dir, "mine", "")
	runc := script(t, dir, "runc", "")
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	table := New("/self")
	table.Set(map[string]Runtime{"m": {Path: "mine", Args: []string{"--debug"}}, "gone": {Path: dir + "/gone"}}, "m")
	for name, want := range map[string]string{
		"": "", "hoy": "", "m": mine, "runc": runc, "io.containerd.runc.v2": runc, mine: mine,
	} {
		rt, err := table.Find(name)
		switch {
		case err != nil:
			t.Errorf("%q: %v", name, err)
		case want == "" && rt != nil, want != "" && (rt == nil || rt.Path != want || rt.Name != name):
			t.Errorf("%q: %+v, want %q", name, rt, want)
		}
	}
	if rt, _ := table.Find("m"); len(rt.Args) != 1 {
		t.Errorf("arguments: %+v", rt)
	}
	for name, want := range map[string]string{
		"x":                     "unknown or invalid runtime name: x",
		"mine":                  "unknown or invalid runtime name: mine", // not configured: a program is named by its path
		"io.containerd.kata.v2": "it is a shim of containerd",
		"gone":                  "unknown or invalid runtime name: gone: " + dir + "/gone: file does not exist",
		plain:                   "permission denied",
		dir:                     "unknown or invalid runtime name: " + dir,
		"../" + dir:             "unknown or invalid runtime name",
	} {
		if _, err := table.Find(name); err == nil || !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", name, err, want)
		}
	}
	if got := table.Default(); got != "m" {
		t.Errorf("default %q", got)
	}
}

func TestStockNamesWithoutRunc(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	table := New("/self")
	table.Set(nil, "hoy")
	for _, table := range []*Table{table, nil} {
		for _, name := range Stock {
			if rt, err := table.Find(name); rt != nil || err != nil {
				t.Errorf("%s: %v, %v: without runc it is the built-in one", name, rt, err)
			}
		}
	}
}

func TestList(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	count := filepath.Join(dir, "asked")
	self := script(t, dir, "self", "exit 1\n")
	one := script(t, dir, "one", `echo x >>`+count+`
case "$2" in
features) echo '{ "hooks": [] }';;
--version) printf 'one version 1.2\ncommit: abc\nspec: 1.0\n';;
esac
`)
	script(t, dir, "two", `echo "two 3"; [ "$1" = --version ]`+"\n")
	script(t, dir, "loud", "yes\n")
	table := New(self)
	table.Set(map[string]Runtime{"one": {Path: one, Args: []string{"--a"}}, "two": {Path: "two"}, "gone": {Path: "/gone"}, "loud": {Path: "loud"}}, "one")
	var all map[string]Info
	for range 2 {
		all = table.List()
	}
	if i := all["one"]; i.Features != `{"hooks":[]}` || i.Commit != "abc" || i.Path != one {
		t.Errorf("%+v", i)
	}
	if i := all["two"]; i.Features != "" || i.Commit != "3" || i.Path != "two" {
		t.Errorf("%+v", i)
	}
	if i := all["gone"]; i.Path != "/gone" || i.Commit != "" {
		t.Errorf("%+v", i)
	}
	if i := all["loud"]; i.Features != "" || i.Commit != "" {
		t.Errorf("%+v", i)
	}
	if i := all["hoy"]; i.Path != self || i.Commit == "" {
		t.Errorf("%+v", i)
	}
	if asked, err := os.ReadFile(count); err != nil || strings.Count(string(asked), "x") != 2 {
		t.Errorf("one was asked %q (%v), want twice: features and version", asked, err)
	}
}
