package machine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"hoy/test/vm/plan"
)

// early are the modules without which there is no disk; ext4 is part of the
// kernel. The rest are on the disk, where modprobe finds them.
var early = []string{"virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk"}

// initramfs is the first stage with the plan and the early modules, as a
// "newc" archive (Documentation/driver-api/early-userspace/buffer-format.rst).
func (k *Kernel) initramfs(inside string, p plan.Plan) ([]byte, error) {
	p.Modules = early
	text, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	stage, err := os.ReadFile(inside)
	if err != nil {
		return nil, err
	}
	var a archive
	a.add("dev", fs.ModeDir|0o755, nil)
	a.add("modules", fs.ModeDir|0o755, nil)
	a.add("init", 0o755, stage)
	a.add("plan.json", 0o644, text)
	paths, err := k.find(early)
	if err != nil {
		return nil, err
	}
	for name, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		a.add("modules/"+name+".ko", 0o644, content)
	}
	a.add("TRAILER!!!", 0, nil)
	return a.Bytes(), nil
}

// find gives the files of the named modules.
func (k *Kernel) find(names []string) (map[string]string, error) {
	found := map[string]string{}
	err := filepath.WalkDir(k.Modules(), func(path string, d fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(filepath.Base(path), ".ko"); ok {
			for _, n := range names {
				if n == strings.ReplaceAll(name, "-", "_") {
					found[n] = path
				}
			}
		}
		return err
	})
	if err == nil && len(found) != len(names) {
		err = fmt.Errorf("of the modules %q only %v were found", names, found)
	}
	return found, err
}

type archive struct {
	bytes.Buffer
	inode int
}

func (a *archive) add(name string, mode fs.FileMode, content []byte) {
	a.inode++
	bits := uint32(mode.Perm()) | 0o100000
	if mode.IsDir() {
		bits = uint32(mode.Perm()) | 0o040000
	}
	// magic, inode, mode, owner, group, links, time, size, device and special
	// device twice each, length of the name with its 0, checksum
	fmt.Fprintf(a, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", a.inode, bits, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0)
	a.WriteString(name + "\x00")
	a.pad()
	a.Write(content)
	a.pad()
}

func (a *archive) pad() {
	for a.Len()%4 != 0 {
		a.WriteByte(0)
	}
}
