package daemon

import (
	"fmt"
	"net/http"
	"os"
	goruntime "runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"

	"hoy/internal/config"
	"hoy/internal/container/deps"
	"hoy/internal/container/users"
)

// maxProfile bounds a seccomp profile's file, in bytes.
const maxProfile = 4 << 20

// containerSettings is the part of the configuration that containers depend on.
func containerSettings(cfg *config.Config, runtime string) (deps.Settings, error) {
	set := deps.Settings{
		Root: cfg.DataRoot, Runtime: runtime, Init: cfg.Init, LogDriver: cfg.LogDriver, LogOptions: cfg.LogOpts,
		DefaultShmSize: int64(cfg.DefaultShmSize), Ulimits: cfg.DefaultUlimits,
		CgroupnsMode: container.CgroupnsMode(cfg.DefaultCgroupnsMode), IpcMode: container.IpcMode(cfg.DefaultIpcMode),
		SeccompProfile: cfg.SeccompProfile, NoNewPrivileges: cfg.NoNewPrivileges,
		DNS: cfg.DNS, DNSSearch: cfg.DNSSearch, DNSOptions: cfg.DNSOptions, CPUs: goruntime.NumCPU(),
	}
	var host unix.Sysinfo_t
	if err := unix.Sysinfo(&host); err != nil {
		return set, fmt.Errorf("memory of the host: %w", err)
	}
	if err := setUsers(&set, cfg); err != nil {
		return set, err
	}
	set.Memory = int64(host.Totalram) * int64(host.Unit)
	switch cfg.SeccompProfile {
	case "", "builtin", "unconfined":
		return set, nil
	}
	info, err := os.Stat(cfg.SeccompProfile)
	if err == nil && info.Size() > maxProfile {
		err = fmt.Errorf("larger than %d bytes", maxProfile)
	}
	if err != nil {
		return set, fmt.Errorf("seccomp-profile %s: %w", cfg.SeccompProfile, err)
	}
	text, err := os.ReadFile(cfg.SeccompProfile)
	if err != nil {
		return set, fmt.Errorf("seccomp-profile: %w", err)
	}
	set.SeccompProfile = string(text)
	return set, nil
}

// setUsers reads which ids containers have.
func setUsers(set *deps.Settings, cfg *config.Config) error {
	ids, err := users.ParseRange(cfg.UsernsRange)
	if err != nil {
		return err
	}
	if set.Remap, err = users.HostFiles.Remap(cfg.UsernsRemap, ids); err != nil {
		return err
	}
	var others []users.Range
	if m := set.Remap; m != nil {
		for _, r := range append(slices.Clone(m.UIDs), m.GIDs...) {
			others = append(others, users.Range{First: r.HostID, Count: r.Size})
		}
	}
	set.Blocks, err = users.HostFiles.Open(ids, others...)
	return err
}

// collectEvery is by how many per cent the heap may grow before it is swept.
// The daemon lives for months and mostly waits: memory is worth more than the time.
const collectEvery = 50

// quiet is how long nobody must have asked for anything before unused memory
// is given back.
const quiet = 10 * time.Second

// trimming gives back, a while after the last request, what only the work needed.
func trimming(h http.Handler) http.Handler {
	t := time.AfterFunc(quiet, debug.FreeOSMemory)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer t.Reset(quiet)
		h.ServeHTTP(w, r)
	})
}

// trimMemory gives back what only the start needed.
func trimMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectEvery)
	}
	debug.FreeOSMemory()
}
