package users

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

func files(t *testing.T, passwd, group, subuid, subgid string) Files {
	t.Helper()
	dir := t.TempDir()
	put := func(name, text string) string {
		path := filepath.Join(dir, name)
		if text != "" {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return path
	}
	return Files{put("passwd", passwd), put("group", group), put("subuid", subuid), put("subgid", subgid)}
}

func TestRemap(t *testing.T) {
	const passwd, group = "root:x:0:0::/:\napp:x:1000:1000::/:\nother:x:1001:1001::/:\n", "root:x:0:\nstaff:x:50:\n"
	const sub = "# ids\nother:500000:65536\napp:100000:65536\n1000:300000:1000\nbad\n"
	f := files(t, passwd, group, strings.Replace(sub, "bad\n", "", 1), strings.Replace(sub, "bad\n", "staff:700000:10\n", 1))
	both := "uid 0 100000 65536, 65536 300000 1000; gid 0 100000 65536, 65536 300000 1000"
	for setting, want := range map[string]string{
		"app": both, "1000": both, "app:staff": "uid 0 100000 65536, 65536 300000 1000; gid 0 100000 65536, 65536 300000 1000, 66536 700000 10",
		"other": "uid 0 500000 65536; gid 0 500000 65536", "default": "uid 0 1879048192 65536; gid 0 1879048192 65536",
	} {
		m, err := f.Remap(setting, Default)
		if err != nil || m.String() != want {
			t.Errorf("%s: %v, %v; want %s", setting, m, err, want)
		}
	}
	for setting, want := range map[string]string{
		"ghost": "ghost is not in", "root": "root cannot be mapped", "0": "root cannot be mapped", "app:ghost": "ghost is not in",
		"5000": "subuid has no line for 5000", ":": "invalid userns-remap", "a:b:c": "invalid userns-remap", "app:": "invalid userns-remap",
	} {
		if m, err := f.Remap(setting, Default); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v; want %s", setting, m, err, want)
		}
	}
	f = files(t, passwd, group, "dockremap:200000:65536\n", "dockremap:300000:65536\n")
	if m, err := f.Remap("default", Default); err != nil || m.String() != "uid 0 200000 65536; gid 0 300000 65536" {
		t.Errorf("%v, %v", m, err)
	}
	if m, err := files(t, "", "", "", "").Remap("", Default); m != nil || err != nil {
		t.Errorf("none: %v, %v", m, err)
	}
	f = files(t, passwd, group, "app:4294967000:65536\n", "app:1:2\n")
	if _, err := f.Remap("app", Default); err == nil || !strings.Contains(err.Error(), "beyond the highest id") {
		t.Errorf("%v", err)
	}
}

func TestRange(t *testing.T) {
	if r, err := ParseRange("100000:131072"); err != nil || r != (Range{100000, 131072}) {
		t.Errorf("%v, %v", r, err)
	}
	for _, s := range []string{"x", "1:2", "100000", "100000:5", "0:65536", "4294900000:200000", "-1:65536", "100000:-1"} {
		if r, err := ParseRange(s); err == nil {
			t.Errorf("%s: %v", s, r)
		}
	}
	if end := uint64(Default.First) + uint64(Default.Count); end > 1<<31 {
		t.Errorf("the default range ends at %d", end)
	}
}

func TestPool(t *testing.T) {
	f := files(t, "", "", "u:165536:1\n", "")
	p, err := f.Open(Range{100000, 5 * Block}, Range{100000 + 2*Block, 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Hold("old", 100000+3*Block); err != nil {
		t.Fatal(err)
	}
	if err := p.Hold("twin", 100000+3*Block); err == nil {
		t.Error("two containers have the same ids")
	}
	// Block 1 holds an id of u's, block 2 another's, block 3 is old's.
	seen := map[uint32]bool{}
	for i := range 2 {
		first, err := p.Take(fmt.Sprint(i))
		if err != nil || seen[first] || first != 100000 && first != 100000+4*Block {
			t.Errorf("%d, %v", first, err)
		}
		seen[first] = true
	}
	if _, err := p.Take("more"); !errdefs.IsResourceExhausted(err) {
		t.Errorf("no ids are left, but: %v", err)
	}
	p.Release("old")
	p.Release("never")
	if first, err := p.Take("next"); err != nil || first != 100000+3*Block {
		t.Errorf("%d, %v", first, err)
	}
}
