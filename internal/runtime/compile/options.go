package compile

import (
	"strings"

	"golang.org/x/sys/unix"
)

var propagations = map[string]uint64{
	"private": unix.MS_PRIVATE, "rprivate": unix.MS_PRIVATE | unix.MS_REC,
	"slave": unix.MS_SLAVE, "rslave": unix.MS_SLAVE | unix.MS_REC,
	"shared": unix.MS_SHARED, "rshared": unix.MS_SHARED | unix.MS_REC,
	"unbindable": unix.MS_UNBINDABLE, "runbindable": unix.MS_UNBINDABLE | unix.MS_REC,
}

// attribute is what an option does to a mount's attributes.
type attribute struct{ set, clear uint64 }

var attributes = map[string]attribute{
	"ro": {set: unix.MOUNT_ATTR_RDONLY}, "rw": {clear: unix.MOUNT_ATTR_RDONLY},
	"nosuid": {set: unix.MOUNT_ATTR_NOSUID}, "suid": {clear: unix.MOUNT_ATTR_NOSUID},
	"nodev": {set: unix.MOUNT_ATTR_NODEV}, "dev": {clear: unix.MOUNT_ATTR_NODEV},
	"noexec": {set: unix.MOUNT_ATTR_NOEXEC}, "exec": {clear: unix.MOUNT_ATTR_NOEXEC},
	"nodiratime": {set: unix.MOUNT_ATTR_NODIRATIME}, "diratime": {clear: unix.MOUNT_ATTR_NODIRATIME},
	"relatime":    {set: unix.MOUNT_ATTR_RELATIME, clear: unix.MOUNT_ATTR__ATIME},
	"norelatime":  {clear: unix.MOUNT_ATTR__ATIME},
	"noatime":     {set: unix.MOUNT_ATTR_NOATIME, clear: unix.MOUNT_ATTR__ATIME},
	"atime":       {clear: unix.MOUNT_ATTR__ATIME},
	"strictatime": {set: unix.MOUNT_ATTR_STRICTATIME, clear: unix.MOUNT_ATTR__ATIME},
	"nosymfollow": {set: unix.MOUNT_ATTR_NOSYMFOLLOW}, "symfollow": {clear: unix.MOUNT_ATTR_NOSYMFOLLOW},
}

// ignored options change nothing here: they are defaults, or superblock flags
// that no file system of a container has a use for.
var ignored = map[string]bool{
	"defaults": true, "bind": true, "rbind": true, "async": true, "loud": true, "remount": true,
	"nomand": true, "mand": true, "copyup": true, "tmpcopyup": true, "": true,
}

// options is a mount's option list, understood.
type options struct {
	bind, recursive bool
	attr, rattr     attribute // of the mount itself; of the whole tree
	propagation     uint64
	data            []string // what is left for the file system
}

func parseOptions(typ string, list []string) options {
	o := options{bind: typ == "bind" || typ == "rbind", recursive: typ == "rbind"}
	for _, word := range list {
		if word == "bind" || word == "rbind" {
			o.bind = true
			o.recursive = o.recursive || word == "rbind"
			continue
		}
		if p, ok := propagations[word]; ok {
			o.propagation = p
			continue
		}
		if a, ok := attributes[word]; ok {
			o.attr.apply(a)
			continue
		}
		// "rro" and its like, but not "rw" and "relatime", which are above.
		if a, ok := attributes[strings.TrimPrefix(word, "r")]; ok && strings.HasPrefix(word, "r") {
			o.rattr.apply(a)
			continue
		}
		if !ignored[word] {
			o.data = append(o.data, word)
		}
	}
	return o
}

// apply lets a later option win over an earlier one.
func (a *attribute) apply(b attribute) {
	a.set = a.set&^b.clear | b.set
	a.clear = a.clear&^(b.set&^unix.MOUNT_ATTR__ATIME) | b.clear
}

// mountAttrSize is sizeof(struct mount_attr).
const mountAttrSize = 32
