package identity

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func root(t testing.TB, passwd, group string) *os.File {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"passwd": passwd, "group": group} {
		if text == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, "etc", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestLookup(t *testing.T) {
	const passwd = "root:x:0:0::/root:/bin/sh\nbroken\n:::::\napp:x:1000:1001::/home/app:/bin/sh\n500:x:600:600::/named:/\n"
	const group = "root:x:0:\nmore:x:50:app,root\nonly:x:60:other\nappgrp:x:1001:\n"
	for _, c := range []struct {
		who    string
		groups []string
		want   User
		err    string
	}{
		{"", nil, User{0, 0, []uint32{0, 50}, "/root"}, ""},
		{"root", nil, User{0, 0, []uint32{0, 50}, "/root"}, ""},
		{"app", nil, User{1000, 1001, []uint32{1001, 50}, "/home/app"}, ""},
		{"1000", nil, User{1000, 1001, []uint32{1001, 50}, "/home/app"}, ""},
		{"app:only", nil, User{1000, 60, []uint32{60}, "/home/app"}, ""},
		{"app:77", nil, User{1000, 77, []uint32{77}, "/home/app"}, ""},
		{"4000", nil, User{4000, 0, []uint32{0}, "/"}, ""},
		{"4000:4001", nil, User{4000, 4001, []uint32{4001}, "/"}, ""},
		{"500", nil, User{500, 0, []uint32{0}, "/"}, ""}, // a number is never a name
		{"app", []string{"only", "50"}, User{1000, 1001, []uint32{1001, 50, 60}, "/home/app"}, ""},
		{"ghost", nil, User{}, "unable to find user ghost: no matching entries in passwd file"},
		{"app:ghost", nil, User{}, "unable to find group ghost: no matching entries in group file"},
		{"app", []string{"ghost"}, User{}, "unable to find group ghost: no matching entries in group file"},
		{"-5", nil, User{}, "uids and gids must be in range"},
		{"99999999999", nil, User{}, "uids and gids must be in range"},
	} {
		got, err := Lookup(root(t, passwd, group), c.who, c.groups)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q: %v, want %s", c.who, err, c.err)
			}
			continue
		}
		if err != nil || got.UID != c.want.UID || got.GID != c.want.GID || got.Home != c.want.Home || !slices.Equal(got.Groups, c.want.Groups) {
			t.Errorf("%q %v: %+v, %v, want %+v", c.who, c.groups, got, err, c.want)
		}
	}
	if u, err := Lookup(root(t, "", ""), "7", nil); err != nil || u.UID != 7 {
		t.Errorf("without files: %+v, %v", u, err)
	}
}

// TestUnsoundEntries: a line that gives no id must not give root.
func TestUnsoundEntries(t *testing.T) {
	for _, line := range []string{
		"app", "app:", "app:x", "app:x:", "app:x::", "app:x:1000", "app:x:abc:1000::/:", "app:x:1000:abc::/:", "app:x:4294967296:0::/:", "app:x:4294967295:0::/:",
		"app:x:-1:0::/:", "app:x:99999999999999999999:0::/:", "app:x: 5:0::/:", "app:x:0x10:0::/:", "app:x:1000:4294967295::/:", "app:\x00:5:5::/:",
	} {
		if u, err := Lookup(root(t, line+"\n", ""), "app", nil); err == nil || !strings.Contains(err.Error(), "no matching entries in passwd file") {
			t.Errorf("%q: %+v, %v", line, u, err)
		}
	}
	for _, line := range []string{"grp", "grp:x", "grp:x::app", "grp:x:abc:app", "grp:x:4294967296:app", "grp:x:4294967295:app", "grp:x:-5:app"} {
		files := root(t, "app:x:1000:1000::/:\n", line+"\n")
		if u, err := Lookup(files, "app:grp", nil); err == nil {
			t.Errorf("%q: %+v", line, u)
		}
		if u, err := Lookup(files, "app", nil); err != nil || !slices.Equal(u.Groups, []uint32{1000}) {
			t.Errorf("%q: %+v, %v", line, u, err)
		}
		if u, err := Lookup(files, "app", []string{"grp"}); err == nil {
			t.Errorf("%q: %+v", line, u)
		}
	}
	u, err := Lookup(root(t, "app:x:4294967294:4294967294::/:\n", ""), "app", nil)
	if err != nil || u.UID != 4294967294 || u.GID != 4294967294 {
		t.Errorf("the highest id: %+v, %v", u, err)
	}
	// The first entry of a name or number wins, as with every C library.
	u, err = Lookup(root(t, "app:x:5:6::/a:\napp:x:7:8::/b:\nalias:x:5:9::/c:\n", ""), "5", nil)
	if err != nil || u.GID != 6 || u.Home != "/a" {
		t.Errorf("two entries: %+v, %v", u, err)
	}
}

// TestHostileFiles: what stands in the place of passwd must neither be waited
// for nor lead out of the root.
func TestHostileFiles(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "passwd")
	if err := os.WriteFile(outside, []byte("app:x:0:0::/:\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, make := range map[string]func(file string) error{
		"pipe":             func(file string) error { return syscall.Mkfifo(file, 0o644) },
		"directory":        func(file string) error { return os.Mkdir(file, 0o755) },
		"link to itself":   func(file string) error { return os.Symlink("passwd", file) },
		"link outside":     func(file string) error { return os.Symlink(outside, file) },
		"link up and out":  func(file string) error { return os.Symlink("../../../../../../../.."+outside, file) },
		"link to nothing":  func(file string) error { return os.Symlink("/nowhere", file) },
		"link to a device": func(file string) error { return os.Symlink("/dev/zero", file) },
		"no line's end":    func(file string) error { return os.WriteFile(file, bytes.Repeat([]byte("x"), 8<<20), 0o600) },
		"behind the bound": func(file string) error {
			return os.WriteFile(file, append(bytes.Repeat([]byte("y:x:1:1::/:\n"), maxFile/10), "app:x:5:5::/:\n"...), 0o600)
		},
	} {
		r := root(t, "", "")
		if err := make(filepath.Join(r.Name(), "etc/passwd")); err != nil {
			t.Fatal(err)
		}
		if u, err := Lookup(r, "app", nil); err == nil {
			t.Errorf("%s: %+v", name, u)
		}
	}
}

func FuzzLookup(f *testing.F) {
	f.Add("root:x:0:0::/:\n", "root:x:0:\n", "root")
	f.Add("a:b", ":::", "1:2")
	f.Fuzz(func(t *testing.T, passwd, group, who string) {
		u, err := Lookup(root(t, passwd, group), who, nil)
		if err != nil {
			return
		}
		if len(u.Groups) == 0 {
			t.Errorf("no group for %q", who)
		}
		// Nobody becomes root, or keeps what the caller is, but who is named so.
		name, _, _ := strings.Cut(who, ":")
		if u.UID == 0 && name != "" && strings.Trim(name, "+-0") != "" && !strings.Contains("\n"+passwd, name+":") {
			t.Errorf("%q is root by %q", who, passwd)
		}
		if u.UID == 1<<32-1 || u.GID == 1<<32-1 || slices.Contains(u.Groups, 1<<32-1) {
			t.Errorf("%q: %+v", who, u)
		}
	})
}

func TestLines(t *testing.T) {
	long := strings.Repeat("x", 3*maxLine)
	for in, want := range map[string]string{
		"a\nb": "a\nb", long + "\nb\n": "b\n", "a\n" + long: "a\n", "a\x00b\nc\n": "c\n", "": "",
	} {
		if got, err := lines(bytes.NewReader([]byte(in)), nil); err != nil || string(got) != want {
			t.Errorf("%.20q: %.20q, %v", in, got, err)
		}
	}
}
