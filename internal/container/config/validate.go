package config

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/sys/signal"
)

func invalid(format string, args ...any) error {
	return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf(format, args...))
}

// Validate checks a merged configuration and a filled host configuration. The
// warnings are for the person; they stop nothing.
func Validate(c *container.Config, hc *container.HostConfig, h Host) (warnings []string, err error) {
	for _, check := range []func() error{
		func() error { return checkConfig(c) },
		func() error { return checkHealth(c.Healthcheck) },
		func() error { return checkModes(hc) },
		func() error { return checkUsers(hc, h) },
		func() error { return checkNetworkConflicts(c, hc) },
		func() error { return CheckRestart(hc.RestartPolicy, hc.AutoRemove) },
		func() error { return checkPorts(hc) },
		func() error { return checkHosts(hc.ExtraHosts) },
		func() error { return checkLimits(hc) },
		func() error { return checkSysctls(hc) },
		func() error { return checkLog(hc.LogConfig) },
		func() error { return checkUnsupported(hc) },
		func() error { _, err := ParseSecurity(hc, h.AppArmor); return err },
		func() error { _, err := Capabilities(hc.CapAdd, hc.CapDrop, hc.Privileged); return err },
	} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	warnings, err = CheckResources(&hc.Resources, h)
	if err != nil {
		return nil, err
	}
	if hc.NetworkMode.IsHost() && (len(hc.PortBindings) > 0 || hc.PublishAllPorts) {
		warnings = append(warnings, "Published ports are discarded when using host network mode")
	}
	return warnings, nil
}

func checkConfig(c *container.Config) error {
	if c.WorkingDir != "" && !path.IsAbs(c.WorkingDir) {
		return invalid("the working directory '%s' is invalid, it needs to be an absolute path", c.WorkingDir)
	}
	if err := CheckEnv(c.Env); err != nil {
		return err
	}
	if c.StopSignal != "" {
		if _, err := signal.ParseSignal(c.StopSignal); err != nil {
			return invalid("Invalid signal: %s", c.StopSignal)
		}
	}
	if strings.ContainsAny(c.Hostname, "\x00\n /") || len(c.Hostname) > 64 {
		return invalid("invalid hostname: %q", c.Hostname)
	}
	return nil
}

// CheckEnv refuses variables without a name.
func CheckEnv(env []string) error {
	for _, kv := range env {
		if kv == "" || kv[0] == '=' || strings.Contains(kv, "\x00") {
			return invalid("invalid environment variable: %s", kv)
		}
	}
	return nil
}

func checkModes(hc *container.HostConfig) error {
	switch {
	case !hc.PidMode.Valid():
		return invalid("invalid PID mode: %s", hc.PidMode)
	case !hc.IpcMode.Valid() || (hc.IpcMode.IsContainer() && hc.IpcMode.Container() == ""):
		return invalid("invalid IPC mode: %s", hc.IpcMode)
	case !hc.UTSMode.Valid():
		return invalid("invalid UTS mode: %s", hc.UTSMode)
	case !hc.CgroupnsMode.Valid():
		return invalid("invalid cgroup namespace mode: %s", hc.CgroupnsMode)
	case !hc.UsernsMode.Valid() && !OwnUsers(hc):
		return invalid("invalid userns mode: %s", hc.UsernsMode)
	case !hc.Cgroup.Valid():
		return invalid("invalid cgroup mode: %s", hc.Cgroup)
	case !hc.Isolation.IsDefault():
		return invalid("invalid isolation '%s' on linux", hc.Isolation)
	case hc.NetworkMode.IsContainer() && hc.NetworkMode.ConnectedContainer() == "":
		return invalid("invalid container format container:<name|id>")
	}
	return nil
}

// Private and Auto as a user namespace mode give a container ids that no other has.
const (
	Private = "private"
	Auto    = "auto"
)

// OwnUsers says whether a container is to have host ids of its own.
func OwnUsers(hc *container.HostConfig) bool {
	return hc.UsernsMode == Private || hc.UsernsMode == Auto
}

// HasUsers says whether a container is to have a user namespace other than the host's.
func HasUsers(hc *container.HostConfig, remapped bool) bool {
	return OwnUsers(hc) || remapped && !hc.UsernsMode.IsHost()
}

// checkUsers refuses what a user namespace has no right to.
func checkUsers(hc *container.HostConfig, h Host) error {
	switch {
	case !HasUsers(hc, h.Remapped):
		return nil
	case hc.Privileged:
		return invalid("privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode")
	case hc.NetworkMode.IsHost():
		return invalid("cannot share the host's network namespace when user namespaces are enabled")
	case hc.PidMode.IsHost():
		return invalid("cannot share the host PID namespace when user namespaces are enabled")
	}
	return nil
}

func checkNetworkConflicts(c *container.Config, hc *container.HostConfig) error {
	if hc.UTSMode.IsHost() && c.Hostname != "" {
		return invalid("conflicting options: hostname and the UTS mode")
	}
	if len(hc.Links) > 0 {
		switch {
		case hc.NetworkMode.IsContainer():
			return invalid("conflicting options: container type network can't be used with links. This would result in undefined behavior")
		case hc.NetworkMode.IsHost():
			return invalid("conflicting options: host type networking can't be used with links. This would result in undefined behavior")
		}
		return errdefs.ErrNotImplemented.WithMessage("links are not supported by this engine: use a name in --add-host, or a shared network")
	}
	if !hc.NetworkMode.IsContainer() {
		return nil
	}
	switch {
	case c.Hostname != "":
		return invalid("conflicting options: hostname and the network mode")
	case len(hc.DNS) > 0:
		return invalid("conflicting options: dns and the network mode")
	case len(hc.ExtraHosts) > 0:
		return invalid("conflicting options: custom host-to-IP mapping and the network mode")
	case len(hc.PortBindings) > 0 || hc.PublishAllPorts:
		return invalid("conflicting options: port publishing and the container type network mode")
	}
	return nil
}

// CheckRestart checks a restart policy.
func CheckRestart(p container.RestartPolicy, autoRemove bool) error {
	if err := container.ValidateRestartPolicy(p); err != nil {
		return invalid("%v", err)
	}
	if autoRemove && !p.IsNone() {
		return invalid("can't create 'AutoRemove' container with restart policy")
	}
	return nil
}

func checkPorts(hc *container.HostConfig) error {
	for port, bindings := range hc.PortBindings {
		if !port.IsValid() || port.Num() == 0 {
			return invalid("invalid port specification: %q", port)
		}
		switch port.Proto() {
		case "tcp", "udp", "sctp":
		default:
			return invalid("invalid proto: %s", port.Proto())
		}
		for _, b := range bindings {
			if !validPorts(b.HostPort) {
				return invalid("invalid port specification: %q", b.HostPort)
			}
		}
	}
	return nil
}

// validPorts takes "", one port or a range "a-b".
func validPorts(s string) bool {
	if s == "" {
		return true
	}
	first, last, isRange := strings.Cut(s, "-")
	a, err := strconv.ParseUint(first, 10, 16)
	if err != nil {
		return false
	}
	if !isRange {
		return true
	}
	b, err := strconv.ParseUint(last, 10, 16)
	return err == nil && a <= b
}

func checkHosts(hosts []string) error {
	for _, h := range hosts {
		name, ip, ok := strings.Cut(h, ":")
		if !ok || name == "" || strings.ContainsAny(h, "\n\r\t ") {
			return invalid("bad format for add-host: %q", h)
		}
		if ip == "host-gateway" {
			continue
		}
		if _, err := netip.ParseAddr(strings.Trim(ip, "[]")); err != nil {
			return invalid("invalid IP address in add-host: %q", ip)
		}
	}
	return nil
}

func checkLimits(hc *container.HostConfig) error {
	if hc.OomScoreAdj < -1000 || hc.OomScoreAdj > 1000 {
		return invalid("Invalid value %d, range for oom score adj is [-1000, 1000]", hc.OomScoreAdj)
	}
	if hc.ShmSize < 0 {
		return invalid("SHM size can not be less than 0")
	}
	for _, u := range hc.Ulimits {
		if u == nil {
			return invalid("invalid ulimit: empty")
		}
		if _, err := u.GetRlimit(); err != nil {
			return invalid("%v", err)
		}
		if u.Hard != -1 && (u.Soft == -1 || u.Soft > u.Hard) {
			return invalid("ulimit soft limit must be less than or equal to hard limit: %d > %d", u.Soft, u.Hard)
		}
	}
	return nil
}

var ipcSysctls = []string{
	"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax",
	"kernel.shmmni", "kernel.shm_rmid_forced",
}

// checkSysctls lets through only what belongs to a namespace of the container's own.
func checkSysctls(hc *container.HostConfig) error {
	for key := range hc.Sysctls {
		name := strings.ReplaceAll(key, "/", ".")
		if strings.Contains(name, "..") || strings.Trim(name, ".") != name || name == "" {
			return invalid("invalid sysctl: %q", key)
		}
		switch {
		case slices.Contains(ipcSysctls, name), strings.HasPrefix(name, "fs.mqueue."):
			if hc.IpcMode.IsHost() {
				return invalid("sysctl %q is not allowed in the host's IPC namespace", key)
			}
		case strings.HasPrefix(name, "net."):
			if hc.NetworkMode.IsHost() {
				return invalid("sysctl %q not allowed in host network namespace", key)
			}
		case name == "kernel.domainname":
			if hc.UTSMode.IsHost() {
				return invalid("sysctl %q is not allowed in the host's UTS namespace", key)
			}
		default:
			return invalid("sysctl %q is not in a separate kernel namespace", key)
		}
	}
	return nil
}

func checkUnsupported(hc *container.HostConfig) error {
	switch {
	case len(hc.StorageOpt) > 0:
		return invalid("--storage-opt is not supported by this engine's snapshotter")
	case len(hc.DeviceRequests) > 0:
		r := hc.DeviceRequests[0]
		return invalid("could not select device driver %q with capabilities: %v", r.Driver, r.Capabilities)
	case hc.Cgroup != "":
		return errdefs.ErrNotImplemented.WithMessage("joining another container's cgroup is not supported")
	}
	return nil
}
