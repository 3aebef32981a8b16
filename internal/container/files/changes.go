package files

import (
	"path"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
)

// furniture is what a start puts below a root to mount on; no person changed it.
var furniture = []string{
	"/dev", "/dev/console", "/dev/pts", "/dev/shm", "/dev/mqueue", "/proc", "/sys", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf",
	"/sbin/docker-init",
}

// withoutFurniture drops mount points that the engine has made, and directories
// that are changed by nothing else.
func withoutFurniture(all []container.FilesystemChange) []container.FilesystemChange {
	touched := map[string]bool{}
	kept := slices.DeleteFunc(slices.Clone(all), func(c container.FilesystemChange) bool {
		if c.Kind != container.ChangeAdd || !slices.Contains(furniture, c.Path) {
			return false
		}
		touched[path.Dir(c.Path)] = true
		return true
	})
	return slices.DeleteFunc(kept, func(c container.FilesystemChange) bool {
		return touched[c.Path] && (c.Kind == container.ChangeModify || c.Path == "/etc" || c.Path == "/sbin") &&
			!slices.ContainsFunc(kept, func(o container.FilesystemChange) bool { return strings.HasPrefix(o.Path, c.Path+"/") })
	})
}
