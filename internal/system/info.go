package system

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/system"

	"hoy/internal/log/options"
	"hoy/internal/request"
	"hoy/internal/runtime/armor"
	"hoy/internal/version"
)

// Info is GET /info.
func (s *Service) Info(ctx context.Context) (*system.Info, error) {
	set := s.d.Settings()
	host := readHost()
	info := &system.Info{
		ID: set.ID, Images: s.d.Images.Count(), Driver: s.d.Images.Driver(),
		DriverStatus:   [][2]string{{"driver-type", "io.containerd.snapshotter.v1"}},
		Plugins:        system.PluginsInfo{Volume: []string{"local"}, Network: []string{"bridge", "host", "null"}, Log: options.Drivers()},
		IPv4Forwarding: fileIs("/proc/sys/net/ipv4/ip_forward", "1"),
		Debug:          set.Debug, NFd: countDir("/proc/self/fd"), NGoroutines: runtime.NumGoroutine(),
		SystemTime: time.Now().Format(time.RFC3339Nano), LoggingDriver: set.LogDriver,
		CgroupDriver: s.d.Cgroups.Driver(), CgroupVersion: s.d.Cgroups.Version(), NEventsListener: s.d.Events.Subscribers(),
		KernelVersion: host.kernel, OperatingSystem: host.system, OSVersion: host.systemVersion,
		OSType: runtime.GOOS, Architecture: host.machine, NCPU: runtime.NumCPU(), MemTotal: host.memory,
		IndexServerAddress: "https://index.docker.io/v1/", RegistryConfig: registryConfig(set),
		DockerRootDir: set.DataRoot, Name: host.name, Labels: slices.Clone(set.Labels), ServerVersion: version.Version,
		HTTPProxy:  proxy("HTTP_PROXY", "http_proxy"),
		HTTPSProxy: proxy("HTTPS_PROXY", "https_proxy"), NoProxy: cmp.Or(os.Getenv("NO_PROXY"), os.Getenv("no_proxy")),
		DefaultRuntime: s.d.Runtimes.Default(), Swarm: swarm.Info{LocalNodeState: swarm.LocalNodeStateInactive},
		LiveRestoreEnabled: true, Isolation: container.IsolationEmpty, InitBinary: set.Runtime,
		ContainerdCommit: system.Commit{ID: moduleVersion("github.com/containerd/containerd/v2")},
		InitCommit:       system.Commit{ID: version.Version},
		SecurityOptions:  securityOptions(set, s.d.Cgroups.Version()),
		FirewallBackend:  &system.FirewallInfo{Driver: "nftables", Info: [][2]string{{"Table", set.FirewallTable}}},
		CDISpecDirs:      []string{}, Warnings: []string{},
	}
	s.runtimes(info)
	for _, p := range set.Pools {
		info.DefaultAddressPools = append(info.DefaultAddressPools, system.NetworkAddressPool{Base: p, Size: p.Bits()})
	}
	fillLimits(info, s.d.Cgroups.Support(), s.d.Cgroups.Version())
	for _, a := range set.Insecure {
		info.Warnings = append(info.Warnings, fmt.Sprintf("WARNING: API is accessible on http://%s without encryption.\n         Access to the remote API is equivalent to root access on the host.", a))
	}
	return info, s.countContainers(ctx, info)
}

// features is the key of what a runtime says that it can do, as runtime-spec names it.
const features = "org.opencontainers.runtime-spec.features"

func (s *Service) runtimes(info *system.Info) {
	all := s.d.Runtimes.List()
	info.Runtimes = make(map[string]system.RuntimeWithStatus, len(all))
	for name, r := range all {
		rt := system.RuntimeWithStatus{Runtime: system.Runtime{Path: r.Path, Args: r.Args}}
		if r.Features != "" {
			rt.Status = map[string]string{features: r.Features}
		}
		info.Runtimes[name] = rt
	}
	info.RuncCommit = system.Commit{ID: all[info.DefaultRuntime].Commit}
}

func (s *Service) countContainers(ctx context.Context, info *system.Info) error {
	all, err := s.d.Containers.List(ctx, request.List{All: true})
	if err != nil {
		return err
	}
	info.Containers = len(all)
	for _, c := range all {
		switch c.State {
		case container.StateRunning, container.StateRestarting:
			info.ContainersRunning++
		case container.StatePaused:
			info.ContainersPaused++
		default:
			info.ContainersStopped++
		}
	}
	return nil
}

func securityOptions(set Settings, cgroups string) []string {
	opts := []string{"name=seccomp,profile=" + cmp.Or(set.SeccompProfile, "builtin")}
	if set.SeccompProfile == "unconfined" {
		opts = nil
	}
	if armor.InKernel() {
		opts = append([]string{"name=apparmor"}, opts...)
	}
	if cgroups == "2" {
		opts = append(opts, "name=cgroupns")
	}
	if set.Remapped {
		opts = append(opts, "name=userns")
	}
	if set.NoNewPrivileges {
		opts = append(opts, "name=no-new-privileges")
	}
	return opts
}

// proxy is an address of the environment without its password.
func proxy(names ...string) string {
	for _, n := range names {
		v := os.Getenv(n)
		if v == "" {
			continue
		}
		u, err := url.Parse(v)
		if err != nil {
			return "(not an address)"
		}
		if u.User != nil {
			u.User = url.UserPassword("xxxxx", "xxxxx")
		}
		return u.String()
	}
	return ""
}

// registryConfig tells which registries are mirrored and which need no certificate.
func registryConfig(set Settings) *registry.ServiceConfig {
	cfg := &registry.ServiceConfig{
		InsecureRegistryCIDRs: []netip.Prefix{netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("127.0.0.0/8")},
		IndexConfigs: map[string]*registry.IndexInfo{
			"docker.io": {Name: "docker.io", Mirrors: append([]string{}, set.Mirrors...), Secure: true, Official: true},
		},
		Mirrors: append([]string{}, set.Mirrors...),
	}
	for _, r := range set.InsecureRegistries {
		if p, err := netip.ParsePrefix(r); err == nil {
			cfg.InsecureRegistryCIDRs = append(cfg.InsecureRegistryCIDRs, p)
			continue
		}
		cfg.IndexConfigs[r] = &registry.IndexInfo{Name: r, Mirrors: []string{}}
	}
	return cfg
}

// Version is GET /version.
func (s *Service) Version(context.Context) (system.VersionResponse, error) {
	kernel := readHost().kernel
	return system.VersionResponse{
		Platform: system.PlatformInfo{Name: "hoy"}, Version: version.Version,
		APIVersion: version.API, MinAPIVersion: version.MinAPI, Os: runtime.GOOS, Arch: runtime.GOARCH,
		GitCommit: version.Commit, GoVersion: runtime.Version(), KernelVersion: kernel, BuildTime: version.BuildTime,
		Components: []system.ComponentVersion{
			{Name: "Engine", Version: version.Version, Details: map[string]string{
				"ApiVersion": version.API, "MinAPIVersion": version.MinAPI, "Os": runtime.GOOS, "Arch": runtime.GOARCH,
				"GitCommit": version.Commit, "GoVersion": runtime.Version(), "KernelVersion": kernel,
				"BuildTime": version.BuildTime, "Experimental": "false",
			}},
			{Name: "hoy-run", Version: version.Version, Details: map[string]string{"GitCommit": version.Commit}},
			{Name: "containerd (in process)", Version: strings.TrimPrefix(moduleVersion("github.com/containerd/containerd/v2"), "v"), Details: map[string]string{"GitCommit": ""}},
		},
	}, nil
}
