package landlock

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParse(t *testing.T) {
	r, err := Parse([]string{"exec:/,write:/data/../data", "connect:443", "bind:none"})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.paths) != 4 || r.paths[1] != (pathRule{"/data", write}) || len(r.ports) != 1 || r.ports[0].port != 443 {
		t.Errorf("%+v", r)
	}
	if r.net != unix.LANDLOCK_ACCESS_NET_BIND_TCP|unix.LANDLOCK_ACCESS_NET_CONNECT_TCP {
		t.Errorf("ports are closed for %#x", r.net)
	}
	if only, err := Parse([]string{"bind:80"}); err != nil || len(only.paths) != 0 || only.Empty() {
		t.Errorf("a port closes paths: %+v, %v", only, err)
	}
	if none, err := Parse(nil); err != nil || !none.Empty() || none.Check(0) != nil {
		t.Errorf("%+v, %v", none, err)
	}
	for text, want := range map[string]string{
		"":                 "is not read:PATH",
		"read":             "an absolute path",
		"read:x":           "an absolute path",
		"read:/\x00":       "an absolute path",
		"bind:65536":       "by a port or",
		"bind:-1":          "by a port or",
		"connect":          "by a port or",
		"execute:/":        "is not read:PATH",
		"read:/,,write:/x": "is not read:PATH",
		strings.Repeat("read:/,", maxRules) + "read:/": "at most",
	} {
		if _, err := Parse([]string{text}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}

func TestCheck(t *testing.T) {
	files, _ := Parse([]string{"read:/"})
	ports, _ := Parse([]string{"bind:1"})
	for _, c := range []struct {
		rules   *Rules
		version int
		want    string
	}{{files, 0, "does not have it"}, {files, 1, ""}, {ports, 3, "cannot close ports"}, {ports, 4, ""}} {
		err := c.rules.Check(c.version)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("version %d: %v, want %q", c.version, err, c.want)
		}
	}
	if got := handled(1); got&(unix.LANDLOCK_ACCESS_FS_REFER|unix.LANDLOCK_ACCESS_FS_TRUNCATE|unix.LANDLOCK_ACCESS_FS_IOCTL_DEV) != 0 {
		t.Errorf("version 1 knows %#x", got)
	}
	if handled(9) != allFiles {
		t.Error("a new kernel lacks rights")
	}
}

func FuzzRules(f *testing.F) {
	for _, s := range []string{"exec:/,write:/data", "bind:80,connect:none", "all:/../..", ",", "read:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := Parse([]string{text})
		if err != nil {
			return
		}
		if r.Empty() {
			t.Errorf("%q closes nothing", text)
		}
		for _, p := range r.paths {
			if p.path[0] != '/' || strings.Contains(p.path, "..") && strings.Contains(p.path, "/../") {
				t.Errorf("%q opens %q", text, p.path)
			}
		}
	})
}
