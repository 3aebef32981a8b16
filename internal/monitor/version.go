package monitor

import (
	"runtime/debug"
	"sync"
)

// Version names the build that this program is from: the module's version, or
// the revision that it was built from. Daemon and monitor of one build agree.
var Version = sync.OnceValue(func() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	version := info.Main.Version
	if version != "" && version != "(devel)" {
		return version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return "devel"
})
