package mounts

import (
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
)

func TestBinds(t *testing.T) {
	for spec, want := range map[string]string{
		"/h:/c":            "bind /h /c rw rprivate",
		"/h:/c:ro,rslave":  "bind /h /c ro rslave",
		"/h/../i:/c/./d:z": "bind /i /c/d rw rprivate",
		"vol:/c":           "volume vol /c rw copy",
		"vol:/c:nocopy":    "volume vol /c rw",
		"/c":               "volume  /c rw copy",
		"/c:ro":            "volume  /c ro copy",
	} {
		w, err := parseBind(spec, "")
		got := strings.TrimSpace(string(w.Type) + " " + w.Name + w.Source + " " + w.Destination + " " +
			map[bool]string{true: "rw", false: "ro"}[w.RW] + " " + string(w.Propagation) + map[bool]string{true: "copy"}[w.CopyUp])
		if err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", spec, got, err, want)
		}
	}
	for _, spec := range []string{"", ":", "a:b:c:d", "/h:c", "/h:/", "/h:/c:bad", "/h:/c:ro,rw", "/h:/c:nocopy", "x/y:/c", "vol:/c:rslave", ":/c:ro", "../x:/c"} {
		if w, err := parseBind(spec, ""); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %+v, %v; want a refusal", spec, w, err)
		}
	}
}

func TestMountForm(t *testing.T) {
	for _, m := range []mount.Mount{
		{Type: "bind", Target: "/c"}, {Type: "bind", Source: "rel", Target: "/c"}, {Type: "bind", Source: "/h", Target: "c"},
		{Type: "bind", Source: "/h", Target: "/"}, {Type: "tmpfs", Source: "/h", Target: "/c"}, {Type: "nope", Target: "/c"},
		{Type: "volume", Source: "../x", Target: "/c"}, {Type: "image", Source: "x", Target: "/c"},
		{Type: "volume", Source: "vv", Target: "/c", VolumeOptions: &mount.VolumeOptions{Subpath: "../x"}},
		{Type: "volume", Target: "/c", VolumeOptions: &mount.VolumeOptions{Subpath: "x"}},
		{Type: "bind", Source: "/h", Target: "/c", VolumeOptions: &mount.VolumeOptions{}},
		{Type: "tmpfs", Target: "/c", TmpfsOptions: &mount.TmpfsOptions{SizeBytes: -1}},
	} {
		if w, err := parseMount(m); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%+v: %+v, %v; want a refusal", m, w, err)
		}
	}
}

func TestTmpfsOptions(t *testing.T) {
	got, err := tmpfsOptions([]string{"exec", "size=1m", "size=2m", "ro"})
	if want := []string{"nosuid", "nodev", "exec", "size=2m", "ro"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	for _, bad := range []string{"bogus", "bogus=1", "lowerdir=/"} {
		if _, err := tmpfsOptions([]string{bad}); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

func TestOneDestinationOnce(t *testing.T) {
	_, err := Parse(&container.Config{}, &container.HostConfig{Binds: []string{"/a:/c", "/b:/c/"}})
	if err == nil || err.Error() != "Duplicate mount point: /c" {
		t.Errorf("%v", err)
	}
	c := &container.Config{Volumes: map[string]struct{}{"/c": {}, "/d": {}}}
	more, err := ImageVolumes(c, func(dst string) bool { return dst == "/c" })
	if err != nil || len(more) != 1 || more[0].Destination != "/d" || !more[0].Anonymous || !more[0].CopyUp {
		t.Errorf("%+v, %v", more, err)
	}
}

func FuzzBind(f *testing.F) {
	f.Add("/h:/c:ro")
	f.Add("vol:/c")
	f.Fuzz(func(t *testing.T, spec string) {
		w, err := parseBind(spec, "")
		if err != nil {
			if !errdefs.IsInvalidArgument(err) {
				t.Errorf("%q: %v", spec, err)
			}
			return
		}
		if !strings.HasPrefix(w.Destination, "/") || w.Destination == "/" || strings.Contains(w.Destination, "/../") {
			t.Errorf("%q: destination %q", spec, w.Destination)
		}
	})
}
