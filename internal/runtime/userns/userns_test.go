package userns

import (
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func ranges(n ...uint32) []specs.LinuxIDMapping {
	var out []specs.LinuxIDMapping
	for i := 0; i < len(n); i += 3 {
		out = append(out, specs.LinuxIDMapping{ContainerID: n[i], HostID: n[i+1], Size: n[i+2]})
	}
	return out
}

func TestMake(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: it maps other ids than the own")
	}
	m := Map{UIDs: ranges(0, 100000, 1000, 1000, 300000, 5, 70000, 400000, 1), GIDs: ranges(0, 200000, 65536)}
	s, err := Make(m, true)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	owner, err := unix.IoctlRetInt(int(s.Net.Fd()), unix.NS_GET_USERNS)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(owner)
	var a, b unix.Stat_t
	if unix.Fstat(owner, &a) != nil || unix.Fstat(int(s.User.Fd()), &b) != nil || a.Ino != b.Ino {
		t.Error("the network namespace is not the user namespace's")
	}
}

func TestCheck(t *testing.T) {
	one := ranges(0, 100000, 1)
	for _, c := range []struct {
		m    Map
		want string
	}{
		{Map{UIDs: one}, "gid mappings are missing"},
		{Map{GIDs: one}, "uid mappings are missing"},
		{Map{ranges(0, 100000, 0), one}, "is empty"},
		{Map{ranges(0, 100000, 10, 5, 200000, 10), one}, "container id 5 is mapped twice"},
		{Map{one, ranges(0, 100000, 10, 10, 100009, 10)}, "host id 100009 is mapped twice"},
		{Map{ranges(0, 4294967290, 10), one}, "beyond the highest id"},
		{Map{ranges(4294967290, 0, 6), one}, "beyond the highest id"},
		{Map{make([]specs.LinuxIDMapping, 341), one}, "the kernel takes 340"},
	} {
		if err := c.m.Check(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %s", c.m, err, c.want)
		}
		if _, err := Make(c.m, false); err == nil {
			t.Errorf("%v was made", c.m)
		}
	}
	if err := (Map{ranges(1, 100000, 10), one}).HasRoot(); err == nil || !strings.Contains(err.Error(), "uid 0") {
		t.Errorf("no root: %v", err)
	}
	if !(Map{ranges(0, 5, 2, 2, 7, 2), one}).Same(Map{ranges(2, 7, 2, 0, 5, 2), one}) || (Map{one, one}).Same(Map{one, ranges(0, 1, 1)}) {
		t.Error("Same")
	}
}

func TestTranslate(t *testing.T) {
	m := ranges(0, 100000, 10, 20, 500, 5)
	for id, want := range map[uint32]uint32{0: 100000, 9: 100009, 20: 500, 24: 504} {
		if got, ok := ToHost(m, id); !ok || got != want {
			t.Errorf("%d is %d on the host, want %d", id, got, want)
		}
		if got, ok := ToContainer(m, want); !ok || got != id {
			t.Errorf("the host's %d is %d, want %d", want, got, id)
		}
	}
	if got, ok := ToHost(m, 10); ok || got != Nobody {
		t.Errorf("10 is %d", got)
	}
}

func BenchmarkMake(b *testing.B) {
	m := Map{ranges(0, 100000, 65536), ranges(0, 100000, 65536)}
	for name, net := range map[string]bool{"user": false, "user+net": true} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				s, err := Make(m, net)
				if err != nil {
					b.Fatal(err)
				}
				s.Close()
			}
		})
	}
}
