package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"hoy/internal/runtime/cgroup/kernfs"
	"hoy/internal/runtime/cgroup/tree"
)

// made is the mode of parents that we make. The sticky bit has no meaning in
// the kernel here; it tells our own from others' when the last group below is
// removed, by whichever process that is done.
const made = 0o755 | unix.S_ISVTX

// parents makes the groups above containers' groups, and removes them.
type parents struct {
	t *tree.Tree
	// keep is the engine's own parent, which stays until it is cleared.
	keep string

	mu sync.Mutex
	// ready are the directories that were looked at by this process and are fit
	// for children; the value says that a cpuset child needs nothing copied.
	ready map[string]bool
}

func (p *parents) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ready = nil
}

// known says whether dir is ready.
func (p *parents) known(dir string) (inherits, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	inherits, ok = p.ready[dir]
	return inherits, ok
}

func (p *parents) learn(dir string, inherits bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ready == nil {
		p.ready = map[string]bool{}
	}
	p.ready[dir] = inherits
}

// lose forgets a directory that turned out to be gone.
func (p *parents) lose(dir string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.ready, dir)
}

// make makes dir, the parent of a group in controller's hierarchy, and what is
// above it, and gives them what children need. It answers whether a cpuset
// child inherits its processors.
func (p *parents) make(controller, dir string) (inherits bool, err error) {
	if inherits, ok := p.known(dir); ok {
		return inherits, nil
	}
	root := p.t.V2.Dir
	if controller != "" {
		root = p.t.V1[controller].Dir
	}
	at := root
	ours := false
	for part := range strings.SplitSeq(strings.Trim(strings.TrimPrefix(dir, root), "/"), "/") {
		if controller == "" && p.t.Unified() {
			// What cannot be enabled is missed by limits alone, and told there.
			_ = p.enable(at, p.t.Controllers)
		}
		if part == "" {
			continue
		}
		at = filepath.Join(at, part)
		err := unix.Mkdir(at, made)
		ours = err == nil
		if err != nil && err != unix.EEXIST {
			return false, &os.PathError{Op: "mkdir", Path: at, Err: err}
		}
		if controller == "cpuset" {
			if err := copyCPUs(at); err != nil {
				return false, err
			}
		}
	}
	if controller == "" && p.t.Unified() && at != root {
		_ = p.enable(at, p.t.Controllers)
	}
	if controller == "cpuset" {
		inherits = inherit(at, ours)
	}
	p.learn(dir, inherits)
	return inherits, nil
}

// copyCPUs gives a new cpuset, which has none, its parent's processors and
// memory nodes: without them nothing can run in it.
func copyCPUs(dir string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		own, err := kernfs.Read(dir, file)
		if err != nil {
			return err
		}
		if own != "" {
			continue
		}
		above, err := kernfs.Read(filepath.Dir(dir), file)
		if err != nil {
			return err
		}
		if err := kernfs.Write(dir, file, above); err != nil {
			return err
		}
	}
	return nil
}

// inherit lets the children of a group of ours begin with its processors; it
// says whether those of dir do.
func inherit(dir string, ours bool) bool {
	const file = "cgroup.clone_children"
	if on, err := kernfs.Read(dir, file); err == nil && on == "1" {
		return true
	}
	if !ours {
		var st unix.Stat_t
		if unix.Stat(dir, &st) != nil || st.Mode&unix.S_ISVTX == 0 {
			return false
		}
	}
	return kernfs.Write(dir, file, "1") == nil
}

// enable lets the children of dir, of version 2, have controllers. What dir
// itself does not have its children cannot.
func (p *parents) enable(dir string, controllers []string) error {
	const file = "cgroup.subtree_control"
	has, err := kernfs.Read(dir, "cgroup.controllers")
	if err != nil {
		return err
	}
	on, err := kernfs.Read(dir, file)
	if err != nil {
		return err
	}
	var want []string
	for _, c := range controllers {
		if hasWord(has, c) && !hasWord(on, c) {
			want = append(want, "+"+c)
		}
	}
	if len(want) == 0 || kernfs.Write(dir, file, strings.Join(want, " ")) == nil {
		return nil
	}
	// One that cannot be enabled must not keep the others from it.
	for _, c := range want {
		if err := kernfs.Write(dir, file, c); errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("cgroup %s has processes of its own, so groups below it cannot be limited: %w", dir, err)
		}
	}
	return nil
}

func hasWord(list, word string) bool {
	for w := range strings.FieldsSeq(list) {
		if w == word {
			return true
		}
	}
	return false
}

// prune removes the parents above a removed group as far as they are ours and
// empty. The engine's own stays.
func (p *parents) prune(controller, dir string) {
	root := p.t.V2.Dir
	if controller != "" {
		root = p.t.V1[controller].Dir
	}
	for at := filepath.Dir(dir); len(at) > len(root) && at != root+p.keep && !strings.HasPrefix(p.keep+"/", strings.TrimPrefix(at, root)+"/"); at = filepath.Dir(at) {
		var st unix.Stat_t
		if unix.Stat(at, &st) != nil || st.Mode&unix.S_ISVTX == 0 {
			return
		}
		p.lose(at)
		if unix.Rmdir(at) != nil {
			return
		}
	}
}
