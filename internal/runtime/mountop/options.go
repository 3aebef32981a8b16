package mountop

import (
	"strings"

	"golang.org/x/sys/unix"
)

// Propagations are the MS_… bits by name.
var Propagations = map[string]uint64{
	"private": unix.MS_PRIVATE, "rprivate": unix.MS_PRIVATE | unix.MS_REC,
	"slave": unix.MS_SLAVE, "rslave": unix.MS_SLAVE | unix.MS_REC,
	"shared": unix.MS_SHARED, "rshared": unix.MS_SHARED | unix.MS_REC,
	"unbindable": unix.MS_UNBINDABLE, "runbindable": unix.MS_UNBINDABLE | unix.MS_REC,
}

// Attribute is what an option does to a mount's attributes.
type Attribute struct{ Set, Clear uint64 }

var attributes = map[string]Attribute{
	"ro": {Set: unix.MOUNT_ATTR_RDONLY}, "rw": {Clear: unix.MOUNT_ATTR_RDONLY},
	"nosuid": {Set: unix.MOUNT_ATTR_NOSUID}, "suid": {Clear: unix.MOUNT_ATTR_NOSUID},
	"nodev": {Set: unix.MOUNT_ATTR_NODEV}, "dev": {Clear: unix.MOUNT_ATTR_NODEV},
	"noexec": {Set: unix.MOUNT_ATTR_NOEXEC}, "exec": {Clear: unix.MOUNT_ATTR_NOEXEC},
	"nodiratime": {Set: unix.MOUNT_ATTR_NODIRATIME}, "diratime": {Clear: unix.MOUNT_ATTR_NODIRATIME},
	"relatime":    {Set: unix.MOUNT_ATTR_RELATIME, Clear: unix.MOUNT_ATTR__ATIME},
	"norelatime":  {Clear: unix.MOUNT_ATTR__ATIME},
	"noatime":     {Set: unix.MOUNT_ATTR_NOATIME, Clear: unix.MOUNT_ATTR__ATIME},
	"atime":       {Clear: unix.MOUNT_ATTR__ATIME},
	"strictatime": {Set: unix.MOUNT_ATTR_STRICTATIME, Clear: unix.MOUNT_ATTR__ATIME},
	"nosymfollow": {Set: unix.MOUNT_ATTR_NOSYMFOLLOW}, "symfollow": {Clear: unix.MOUNT_ATTR_NOSYMFOLLOW},
}

// ignored options change nothing here: they are defaults, or superblock flags
// that no file system of a container has a use for.
var ignored = map[string]bool{
	"defaults": true, "bind": true, "rbind": true, "async": true, "loud": true, "remount": true,
	"nomand": true, "mand": true, "copyup": true, "tmpcopyup": true, "": true,
}

// Options is a mount's option list, understood.
type Options struct {
	// Bind of a directory or file, Recursive with what is mounted below.
	Bind, Recursive bool
	Attr, RAttr     Attribute // of the mount itself; of the whole tree
	// Propagation is MS_… bits; 0 where none is named.
	Propagation uint64
	// IDMap: the owners of the mount's files are mapped; RIDMap: those of what is
	// mounted below, too.
	IDMap, RIDMap bool
	Data          []string // what is left for the file system
}

// Parse reads the options of a mount of type typ.
func Parse(typ string, list []string) Options {
	o := Options{Bind: typ == "bind" || typ == "rbind", Recursive: typ == "rbind"}
	for _, word := range list {
		if word == "bind" || word == "rbind" {
			o.Bind = true
			o.Recursive = o.Recursive || word == "rbind"
			continue
		}
		if word == "idmap" || word == "ridmap" {
			o.IDMap, o.RIDMap = true, o.RIDMap || word == "ridmap"
			continue
		}
		if p, ok := Propagations[word]; ok {
			o.Propagation = p
			continue
		}
		if a, ok := attributes[word]; ok {
			o.Attr.apply(a)
			continue
		}
		// "rro" and its like, but not "rw" and "relatime", which are above.
		if a, ok := attributes[strings.TrimPrefix(word, "r")]; ok && strings.HasPrefix(word, "r") {
			o.RAttr.apply(a)
			continue
		}
		if !ignored[word] {
			o.Data = append(o.Data, word)
		}
	}
	return o
}

// apply lets a later option win over an earlier one.
func (a *Attribute) apply(b Attribute) {
	a.Set = a.Set&^b.Clear | b.Set
	a.Clear = a.Clear&^(b.Set&^unix.MOUNT_ATTR__ATIME) | b.Clear
}

// mountAttrSize is sizeof(struct mount_attr).
const mountAttrSize = 32
