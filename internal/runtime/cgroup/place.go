package cgroup

import (
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"hoy/internal/runtime/cgroup/tree"
)

// layout gives a group's directories by controller, "" for version 2. Those of
// controllers that only a limit asks for are there where all is wanted.
func layout(t *tree.Tree, name string, all bool) map[string]string {
	paths := make(map[string]string, len(usual)+1)
	for controller, m := range t.V1 {
		if all || slices.Contains(usual, controller) {
			paths[controller] = m.Dir + name
		}
	}
	switch {
	case t.V2.Dir != "":
		paths[""] = t.V2.Dir + name
	case t.V1["freezer"].Dir != "":
		paths["freezer"] = t.V1["freezer"].Dir + name
	}
	return paths
}

// dirs are the distinct directories of a layout: controllers that are mounted
// together share one.
func dirs(paths map[string]string) []string {
	list := slices.AppendSeq(make([]string, 0, len(paths)), maps.Values(paths))
	slices.Sort(list)
	return slices.Compact(list)
}

// ForPath finds the place of linux.cgroupsPath. An absolute path begins at the
// root of each hierarchy, a relative one at the caller's own group (on version 2
// at that group's parent, which is where a group may have children with
// controllers); an empty one is id, relative. With systemd the form is
// "slice:prefix:name", and an empty one is the scope of id in system.slice.
func ForPath(cgroupsPath, id string, systemd bool) (Place, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	t, err := tree.Find()
	if err != nil {
		return nil, err
	}
	if systemd {
		return scopePlace(t, cgroupsPath, id)
	}
	if cgroupsPath == "" {
		cgroupsPath = id
	}
	name := path.Clean("/" + cgroupsPath)
	if name == "/" || strings.ContainsAny(cgroupsPath, "\x00\n") {
		return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("%q is not a path for a container's cgroup", cgroupsPath))
	}
	gr := &group{t: t, name: name, paths: layout(t, name, false), ready: &parents{t: t}}
	if strings.HasPrefix(cgroupsPath, "/") {
		return gr, nil
	}
	gr.below = map[string]string{}
	for controller := range layout(t, name, true) {
		own, err := t.OwnDir(controller)
		if err != nil {
			return nil, err
		}
		if t.Unified() && own != t.V2.Dir {
			own = filepath.Dir(own)
		}
		gr.below[controller] = own
		if _, ok := gr.paths[controller]; ok {
			gr.paths[controller] = own + name
		}
	}
	return gr, nil
}
