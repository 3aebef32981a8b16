package mountop

import (
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParse(t *testing.T) {
	ro := Attribute{Set: unix.MOUNT_ATTR_RDONLY}
	for _, c := range []struct {
		typ  string
		list []string
		want Options
	}{
		{"bind", nil, Options{Bind: true}},
		{"none", []string{"rbind", "ro"}, Options{Bind: true, Recursive: true, Attr: ro}},
		{"", []string{"bind", "loud", "silent", "mand", "iversion"}, Options{Bind: true}},
		{"bind", []string{"rro", "rnosuid"}, Options{Bind: true, RAttr: Attribute{Set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID}}},
		{"bind", []string{"ro", "rw"}, Options{Bind: true, Attr: Attribute{Clear: unix.MOUNT_ATTR_RDONLY}}},
		{"bind", []string{"rw", "ro"}, Options{Bind: true, Attr: ro}},
		{"bind", []string{"rslave"}, Options{Bind: true, Propagation: []uint64{unix.MS_SLAVE | unix.MS_REC}}},
		{"bind", []string{"slave", "rshared"}, Options{Bind: true, Propagation: []uint64{unix.MS_SLAVE, unix.MS_SHARED | unix.MS_REC}}},
		{"bind", []string{"remount", "ro"}, Options{Bind: true, Remount: true, Attr: ro}},
		{"tmpfs", []string{"tmpcopyup", "size=1m"}, Options{CopyUp: true, Data: []string{"size=1m"}}},
		{"tmpfs", []string{"noatime"}, Options{Attr: Attribute{Set: unix.MOUNT_ATTR_NOATIME, Clear: unix.MOUNT_ATTR__ATIME}}},
		{"tmpfs", []string{"relatime", "size=1m", "defaults", "mode=700"}, Options{Attr: Attribute{Clear: unix.MOUNT_ATTR__ATIME}, Data: []string{"size=1m", "mode=700"}}},
		{"ext4", []string{"sync", "dirsync", "lazytime", "async"}, Options{Super: []string{"dirsync", "lazytime"}}},
	} {
		if got := Parse(c.typ, c.list); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s %q: %+v, want %+v", c.typ, c.list, got, c.want)
		}
	}
}

// TestEveryOptionIsKnown goes through the table of the OCI runtime specification.
func TestEveryOptionIsKnown(t *testing.T) {
	for word := range strings.FieldsSeq(`async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev
		nodiratime noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev rdiratime
		relatime remount rexec rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate rrelatime
		rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared silent slave strictatime suid symfollow sync tmpcopyup
		unbindable idmap ridmap`) {
		if o := Parse("x", []string{word}); len(o.Data) != 0 {
			t.Errorf("%s is taken for an option of the file system", word)
		}
		if o := Parse("x", []string{word, "r" + word}); word[0] != 'r' && o.RAttr != (Attribute{}) && o.RAttr != o.Attr {
			t.Errorf("%s: %+v for one mount, %+v for the tree", word, o.Attr, o.RAttr)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("bind", "rbind,ro,rslave,rnoatime")
	f.Add("tmpfs", "size=1m,,sync,async,relatime,mode=")
	f.Fuzz(func(t *testing.T, typ, list string) {
		words := strings.Split(list, ",")
		o := Parse(typ, words)
		if len(o.Data)+len(o.Super)+len(o.Propagation) > len(words) {
			t.Errorf("%q: more comes out than went in: %+v", list, o)
		}
		for _, a := range []Attribute{o.Attr, o.RAttr, o.All()} {
			if a.Set&a.Clear&^uint64(unix.MOUNT_ATTR__ATIME) != 0 {
				t.Errorf("%q sets and clears one attribute: %+v", list, a)
			}
			if a.Set&unix.MOUNT_ATTR__ATIME != 0 && a.Clear&unix.MOUNT_ATTR__ATIME != unix.MOUNT_ATTR__ATIME {
				t.Errorf("%q: the kernel refuses a time mode without a clearing: %+v", list, a)
			}
		}
		last := ""
		for _, w := range words {
			if w == "ro" || w == "rw" {
				last = w
			}
		}
		if ro := o.Attr.Set&unix.MOUNT_ATTR_RDONLY != 0; ro != (last == "ro") {
			t.Errorf("%q: read-only is %v", list, ro)
		}
	})
}
