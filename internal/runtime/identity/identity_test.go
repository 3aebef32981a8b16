package identity

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

func FuzzLookup(f *testing.F) {
	f.Add("root:x:0:0::/:\n", "root:x:0:\n", "root")
	f.Add("a:b", ":::", "1:2")
	f.Fuzz(func(t *testing.T, passwd, group, who string) {
		u, err := Lookup(root(t, passwd, group), who, nil)
		if err == nil && len(u.Groups) == 0 {
			t.Errorf("no group for %q", who)
		}
	})
}

func TestLines(t *testing.T) {
	long := strings.Repeat("x", 3*maxLine)
	for in, want := range map[string]string{
		"a\nb": "a\nb", long + "\nb\n": "b\n", "a\n" + long: "a\n", "a\x00b\nc\n": "c\n", "": "",
	} {
		if got, err := lines(bytes.NewReader([]byte(in))); err != nil || string(got) != want {
			t.Errorf("%.20q: %.20q, %v", in, got, err)
		}
	}
}
