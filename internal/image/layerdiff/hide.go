package layerdiff

import (
	"io/fs"
	"path"
)

// hiding leaves out what an engine puts into a container's layer for nothing
// but to mount on: of the given places those that no layer below has and that
// are an empty file, or a directory with nothing in it that is not hidden too.
// A directory above whose time alone changed by that is left out as well.
type hiding struct {
	places, parents map[string]bool
}

func newHiding(places []string) hiding {
	h := hiding{map[string]bool{}, map[string]bool{}}
	for _, p := range places {
		p = path.Clean("/" + p)
		h.places[p] = true
		for dir := path.Dir(p); dir != "/"; dir = path.Dir(dir) {
			h.parents[dir] = true
		}
	}
	return h
}

// hides says whether a new entry at p may be hidden; a directory only while
// nothing else is in it.
func (h hiding) hides(p string, info fs.FileInfo) bool {
	return h.places[p] && (info.IsDir() || info.Mode().IsRegular() && info.Size() == 0)
}
