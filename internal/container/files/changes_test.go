package files

import (
	"slices"
	"testing"

	"github.com/moby/moby/api/types/container"
)

func TestWithoutFurniture(t *testing.T) {
	ch := func(kind container.ChangeType, path string) container.FilesystemChange {
		return container.FilesystemChange{Kind: kind, Path: path}
	}
	in := []container.FilesystemChange{
		ch(container.ChangeAdd, "/dev"), ch(container.ChangeModify, "/etc"), ch(container.ChangeAdd, "/etc/hosts"),
		ch(container.ChangeModify, "/tmp"), ch(container.ChangeAdd, "/tmp/x"),
	}
	if got := withoutFurniture(in); !slices.Equal(got, in[3:]) {
		t.Errorf("%v", got)
	}
	in = append(in, ch(container.ChangeModify, "/etc/passwd"))
	if got := withoutFurniture(in); len(got) != 4 {
		t.Errorf("a real change of /etc: %v", got)
	}
	in = []container.FilesystemChange{ch(container.ChangeModify, "/etc"), ch(container.ChangeModify, "/etc/hosts")}
	if got := withoutFurniture(in); len(got) != 2 {
		t.Errorf("a changed file is no furniture: %v", got)
	}
}
