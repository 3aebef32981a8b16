package mountop

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		typ  string
		list []string
		want Options
	}{
		{"bind", nil, Options{Bind: true}},
		{"none", []string{"rbind", "ro"}, Options{Bind: true, Recursive: true, Attr: Attribute{Set: unix.MOUNT_ATTR_RDONLY}}},
		{"bind", []string{"rro", "rnosuid"}, Options{Bind: true, RAttr: Attribute{Set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID}}},
		{"bind", []string{"ro", "rw"}, Options{Bind: true, Attr: Attribute{Clear: unix.MOUNT_ATTR_RDONLY}}},
		{"bind", []string{"rw", "ro"}, Options{Bind: true, Attr: Attribute{Set: unix.MOUNT_ATTR_RDONLY}}},
		{"bind", []string{"rslave"}, Options{Bind: true, Propagation: unix.MS_SLAVE | unix.MS_REC}},
		{"tmpfs", []string{"noatime"}, Options{Attr: Attribute{Set: unix.MOUNT_ATTR_NOATIME, Clear: unix.MOUNT_ATTR__ATIME}}},
		{"tmpfs", []string{"relatime", "size=1m", "defaults", "mode=700"}, Options{Attr: Attribute{Clear: unix.MOUNT_ATTR__ATIME}, Data: []string{"size=1m", "mode=700"}}},
	} {
		got := Parse(c.typ, c.list)
		same := slices.Equal(got.Data, c.want.Data)
		if got.Data, c.want.Data = nil, nil; !same || got.Bind != c.want.Bind || got.Recursive != c.want.Recursive ||
			got.Attr != c.want.Attr || got.RAttr != c.want.RAttr || got.Propagation != c.want.Propagation {
			t.Errorf("%s %q: %+v, want %+v", c.typ, c.list, got, c.want)
		}
	}
}
