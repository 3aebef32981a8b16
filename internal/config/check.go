package config

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/docker/go-units"

	logoptions "hoy/internal/log/options"
)

// finish fills what follows from other settings and checks the whole. All
// that is wrong is reported at once.
func (c *Config) finish() error {
	for _, p := range []*string{&c.DataRoot, &c.ExecRoot} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	if c.Pidfile == "" {
		c.Pidfile = filepath.Join(c.ExecRoot, "hoyd.pid")
	}
	if len(c.Hosts) == 0 {
		c.Hosts = []string{DefaultHost}
	}
	c.Hosts = slices.Compact(slices.Sorted(slices.Values(c.Hosts)))
	c.TLS = c.TLS || c.TLSVerify
	for name, u := range c.DefaultUlimits {
		if u == nil {
			delete(c.DefaultUlimits, name)
			continue
		}
		u.Name = name
	}
	return errors.Join(
		c.checkLog(), c.checkMetrics(), c.checkRoots(), c.checkStorage(), c.checkNetwork(), c.checkRegistries(),
		c.checkContainers(), c.checkRuntimes(), c.checkLabels(),
	)
}

// Level of the daemon's own log.
func (c *Config) Level() slog.Level {
	if c.Debug {
		return slog.LevelDebug
	}
	return levels[strings.ToLower(c.LogLevel)]
}

// levels has dockerd's names too; what slog cannot tell apart has the nearest.
var levels = map[string]slog.Level{
	"debug": slog.LevelDebug, "trace": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn,
	"warning": slog.LevelWarn, "error": slog.LevelError, "fatal": slog.LevelError, "panic": slog.LevelError,
}

func (c *Config) checkLog() error {
	var errs []error
	if _, ok := levels[strings.ToLower(c.LogLevel)]; !ok {
		errs = append(errs, fmt.Errorf("invalid log-level %q: must be debug, info, warn or error", c.LogLevel))
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		errs = append(errs, fmt.Errorf("invalid log-format %q: must be text or json", c.LogFormat))
	}
	return errors.Join(errs...)
}

func (c *Config) checkMetrics() error {
	if c.MetricsAddr == "" {
		return nil
	}
	if _, port, err := net.SplitHostPort(c.MetricsAddr); err != nil || port == "" {
		return fmt.Errorf("invalid metrics-addr %q: must be HOST:PORT", c.MetricsAddr)
	}
	return nil
}

func (c *Config) checkRoots() error {
	if c.DataRoot == "/" || c.ExecRoot == "/" {
		return errors.New("data-root and exec-root must not be /")
	}
	if c.DataRoot == c.ExecRoot {
		return errors.New("data-root and exec-root must be two directories")
	}
	return nil
}

// drivers are the storage drivers by the names that people know.
var drivers = map[string]string{"": "", "overlayfs": "overlayfs", "overlay2": "overlayfs", "overlay": "overlayfs", "native": "native", "vfs": "native"}

func (c *Config) checkStorage() error {
	name, ok := drivers[c.StorageDriver]
	if !ok {
		return fmt.Errorf("unsupported storage-driver %q: must be overlayfs or native", c.StorageDriver)
	}
	c.StorageDriver = name
	return nil
}

// maxLinkName is IFNAMSIZ without the final zero.
const maxLinkName = 15

func (c *Config) checkNetwork() error {
	var errs []error
	if c.Bridge == "" || len(c.Bridge) > maxLinkName || strings.ContainsAny(c.Bridge, "/ \t\n") {
		errs = append(errs, fmt.Errorf("invalid bridge %q: must be a link's name of at most %d characters, or none", c.Bridge, maxLinkName))
	}
	if c.FirewallTable == "" {
		errs = append(errs, errors.New("invalid firewall-table: must not be empty"))
	}
	if c.BIP != (netip.Prefix{}) && (!c.BIP.Addr().Is4() || c.BIP.Addr() == c.BIP.Masked().Addr() || c.BIP.Bits() > 30) {
		errs = append(errs, fmt.Errorf("invalid bip %s: must be an IPv4 address with its prefix, such as 172.20.0.1/16", c.BIP))
	}
	if c.MTU < 0 || c.MTU != 0 && c.MTU < 68 || c.MTU > 65535 {
		errs = append(errs, fmt.Errorf("invalid mtu %d: must be 68 to 65535, or 0", c.MTU))
	}
	for _, o := range []struct {
		name string
		on   bool
	}{{"iptables", c.IPTables}, {"ip-forward", c.IPForward}, {"ip-masq", c.IPMasq}} {
		if !o.on {
			errs = append(errs, fmt.Errorf("%s=false is not supported yet: the default bridge needs it; use --bridge none to have no bridge", o.name))
		}
	}
	return errors.Join(errs...)
}

func (c *Config) checkRegistries() error {
	var errs []error
	for _, m := range c.Mirrors {
		u, err := url.Parse(m)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			errs = append(errs, fmt.Errorf("invalid registry mirror %q: must be http(s)://HOST[:PORT]/", m))
		}
	}
	for _, r := range c.InsecureRegistries {
		if strings.Contains(r, "://") || r == "" {
			errs = append(errs, fmt.Errorf("invalid insecure registry %q: must be HOST[:PORT] or a CIDR, without a scheme", r))
		}
	}
	return errors.Join(errs...)
}

func (c *Config) checkContainers() error {
	var errs []error
	if _, err := logoptions.Parse(c.LogDriver, c.LogOpts, "", ""); err != nil {
		errs = append(errs, fmt.Errorf("failed to set log opts: %w", err))
	}
	if c.DefaultShmSize <= 0 {
		errs = append(errs, errors.New("invalid default-shm-size: must be more than 0"))
	}
	if m := c.DefaultCgroupnsMode; m != "" && m != "host" && m != "private" {
		errs = append(errs, fmt.Errorf("invalid default-cgroupns-mode %q: must be host or private", m))
	}
	if m := c.DefaultIpcMode; m != "" && m != "private" && m != "shareable" {
		errs = append(errs, fmt.Errorf("invalid default-ipc-mode %q: must be private or shareable", m))
	}
	if c.CgroupDriver() == "systemd" {
		if len(c.CgroupParent) <= len(".slice") || !strings.HasSuffix(c.CgroupParent, ".slice") {
			errs = append(errs, fmt.Errorf("invalid cgroup-parent %q: cgroup-parent for systemd cgroup should be a valid slice named as \"xxx.slice\"", c.CgroupParent))
		}
	} else if !strings.HasPrefix(c.CgroupParent, "/") || c.CgroupParent != filepath.Clean(c.CgroupParent) || c.CgroupParent == "/" {
		errs = append(errs, fmt.Errorf("invalid cgroup-parent %q: must be a clean absolute path below /", c.CgroupParent))
	}
	for name, u := range c.DefaultUlimits {
		if _, err := units.ParseUlimit(u.String()); err != nil {
			errs = append(errs, fmt.Errorf("invalid default-ulimits: %s: %w", name, err))
		}
	}
	if c.ShutdownTimeout < 0 {
		errs = append(errs, fmt.Errorf("invalid shutdown-timeout %d: must not be negative", c.ShutdownTimeout))
	}
	return errors.Join(errs...)
}

const cgroupDriver = "native.cgroupdriver="

// CgroupDriver is how control groups are made: cgroupfs or systemd. The last option counts.
func (c *Config) CgroupDriver() string {
	driver := "cgroupfs"
	for _, o := range c.ExecOpts {
		if d, ok := strings.CutPrefix(o, cgroupDriver); ok {
			driver = d
		}
	}
	return driver
}

func (c *Config) checkRuntimes() error {
	var errs []error
	if !c.LiveRestore {
		errs = append(errs, errors.New("live-restore=false is not supported: containers always outlive the daemon"))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Runtimes)) {
		if err := checkRuntime(name, c.Runtimes[name]); err != nil {
			errs = append(errs, err)
		}
	}
	if _, configured := c.Runtimes[c.DefaultRuntime]; !configured && !slices.Contains(presentRuntimes, c.DefaultRuntime) {
		errs = append(errs, fmt.Errorf("specified default runtime '%s' does not exist", c.DefaultRuntime))
	}
	for _, o := range c.ExecOpts {
		if d, ok := strings.CutPrefix(o, cgroupDriver); !ok || d != "cgroupfs" && d != "systemd" {
			errs = append(errs, fmt.Errorf("unsupported exec-opt %q: must be native.cgroupdriver=cgroupfs or native.cgroupdriver=systemd", o))
		}
	}
	return errors.Join(errs...)
}

// presentRuntimes need no configuration. The first is the built-in one.
var presentRuntimes = []string{"hoy", "runc", "io.containerd.runc.v2"}

// checkRuntime refuses what is no OCI runtime by its command line.
func checkRuntime(name string, r Runtime) error {
	switch {
	case name == "" || strings.ContainsAny(name, "/ \t\n"):
		return fmt.Errorf("invalid runtime name %q: must not be empty, and hold neither a slash nor a space", name)
	case name == presentRuntimes[0]:
		return fmt.Errorf("runtime name '%s' is reserved", name)
	case r.Type != "" || len(r.Options) > 0:
		return fmt.Errorf("runtime %q: runtimeType and options are of containerd's shims, which are not supported: give the path of the OCI runtime's own program", name)
	case r.Path == "":
		return fmt.Errorf("runtime %q: a path must be configured", name)
	}
	return nil
}

func (c *Config) checkLabels() error {
	seen := map[string]string{}
	for _, l := range c.Labels {
		k, v, ok := strings.Cut(l, "=")
		if !ok || k == "" {
			return fmt.Errorf("invalid label %q: must be KEY=VALUE", l)
		}
		if old, dup := seen[k]; dup && old != v {
			return fmt.Errorf("conflict labels for %s=%s and %s=%s", k, v, k, old)
		}
		seen[k] = v
	}
	return nil
}

// Reload takes from next what may change while the daemon runs, and returns
// the keys that differ: those taken over, and those that need a restart.
func (c *Config) Reload(next *Config) (taken, needRestart []string) {
	for _, o := range options {
		if o.key == "" {
			continue
		}
		was, is := o.at(c), o.at(next)
		if same(was, is) {
			continue
		}
		if o.reload {
			taken = append(taken, o.key)
			assign(was, is)
			continue
		}
		needRestart = append(needRestart, o.key)
	}
	return taken, needRestart
}
