package mountop

import (
	"slices"
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

// attributes by option; each has a form for the whole tree, with an "r" before it.
var attributes = map[string]Attribute{
	"ro": {Set: unix.MOUNT_ATTR_RDONLY}, "rw": {Clear: unix.MOUNT_ATTR_RDONLY},
	"nosuid": {Set: unix.MOUNT_ATTR_NOSUID}, "suid": {Clear: unix.MOUNT_ATTR_NOSUID},
	"nodev": {Set: unix.MOUNT_ATTR_NODEV}, "dev": {Clear: unix.MOUNT_ATTR_NODEV},
	"noexec": {Set: unix.MOUNT_ATTR_NOEXEC}, "exec": {Clear: unix.MOUNT_ATTR_NOEXEC},
	"nodiratime": {Set: unix.MOUNT_ATTR_NODIRATIME}, "diratime": {Clear: unix.MOUNT_ATTR_NODIRATIME},
	"relatime":      {Set: unix.MOUNT_ATTR_RELATIME, Clear: unix.MOUNT_ATTR__ATIME},
	"norelatime":    {Clear: unix.MOUNT_ATTR__ATIME},
	"noatime":       {Set: unix.MOUNT_ATTR_NOATIME, Clear: unix.MOUNT_ATTR__ATIME},
	"atime":         {Clear: unix.MOUNT_ATTR__ATIME},
	"strictatime":   {Set: unix.MOUNT_ATTR_STRICTATIME, Clear: unix.MOUNT_ATTR__ATIME},
	"nostrictatime": {Clear: unix.MOUNT_ATTR__ATIME},
	"nosymfollow":   {Set: unix.MOUNT_ATTR_NOSYMFOLLOW}, "symfollow": {Clear: unix.MOUNT_ATTR_NOSYMFOLLOW},
}

// superblock options are of the file system itself, and the kernel takes each
// as a flag; the second of a pair takes the first back.
var superblock = [][2]string{{"sync", "async"}, {"dirsync", ""}, {"lazytime", "nolazytime"}}

// ignored options change nothing: they are defaults, or what Linux has given up
// (mandatory locks, versions of inodes), or about messages in the kernel's log.
var ignored = map[string]bool{
	"defaults": true, "loud": true, "silent": true, "nomand": true, "mand": true,
	"iversion": true, "noiversion": true, "": true,
}

// Options is a mount's option list, understood.
type Options struct {
	// Bind of a directory or file, Recursive with what is mounted below.
	Bind, Recursive bool
	// Remount changes what is mounted already; CopyUp fills a tmpfs with what it covers.
	Remount, CopyUp bool
	Attr, RAttr     Attribute // of the mount itself; of the whole tree
	// Propagation is MS_… bits, to be applied in order; empty where none is named.
	Propagation []uint64
	// IDMap: the owners of the mount's files are mapped; RIDMap: those of what is
	// mounted below, too.
	IDMap, RIDMap bool
	Super         []string // flags of the file system
	Data          []string // what is left for the file system
}

// Parse reads the options of a mount of type typ.
func Parse(typ string, list []string) Options {
	o := Options{Bind: typ == "bind" || typ == "rbind", Recursive: typ == "rbind"}
	for _, word := range list {
		o.add(word)
	}
	return o
}

func (o *Options) add(word string) {
	switch word {
	case "bind", "rbind":
		o.Bind = true
		o.Recursive = o.Recursive || word == "rbind"
		return
	case "remount":
		o.Remount = true
		return
	case "idmap", "ridmap":
		o.IDMap, o.RIDMap = true, o.RIDMap || word == "ridmap"
		return
	case "copyup", "tmpcopyup":
		o.CopyUp = true
		return
	}
	if p, ok := Propagations[word]; ok {
		o.Propagation = append(o.Propagation, p)
		return
	}
	if a, ok := attributes[word]; ok {
		o.Attr.apply(a)
		return
	}
	// "rro" and its like, but not "rw" and "relatime", which are above.
	if a, ok := attributes[strings.TrimPrefix(word, "r")]; ok && strings.HasPrefix(word, "r") {
		o.RAttr.apply(a)
		return
	}
	if o.super(word) || ignored[word] {
		return
	}
	o.Data = append(o.Data, word)
}

func (o *Options) super(word string) bool {
	for _, pair := range superblock {
		if word == "" || word != pair[0] && word != pair[1] {
			continue
		}
		o.Super = slices.DeleteFunc(o.Super, func(s string) bool { return s == pair[0] })
		if word == pair[0] {
			o.Super = append(o.Super, word)
		}
		return true
	}
	return false
}

// apply lets a later option win over an earlier one.
func (a *Attribute) apply(b Attribute) {
	a.Set = a.Set&^b.Clear | b.Set
	a.Clear = a.Clear&^(b.Set&^unix.MOUNT_ATTR__ATIME) | b.Clear
}

// All is what both parts do together to one mount.
func (o Options) All() Attribute {
	a := o.Attr
	a.apply(o.RAttr)
	return a
}

// mountAttrSize is sizeof(struct mount_attr).
const mountAttrSize = 32

// Names are all options that mean the same for every file system, sorted.
func Names() []string {
	names := []string{"idmap", "ridmap"}
	for name := range Propagations {
		names = append(names, name)
	}
	for name := range attributes {
		names = append(names, name, "r"+name)
	}
	for name := range ignored {
		if name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
